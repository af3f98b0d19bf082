"""Runs the contract suite on each mutant."""

from __future__ import annotations

from pyncette.testing import Capabilities
from tests.contract.broken import Broken
from tests.contract.mutants import MUTANTS

for mutant in MUTANTS:
    globals()[f"Test{mutant.name}"] = type(
        f"Test{mutant.name}",
        (Broken,),
        {
            "store": mutant.store(),
            "caught_by": (mutant.caught_by,),
            "capabilities": Capabilities(keeps_runs=True),
            "__module__": __name__,
        },
    )
