"""Random histories of operators and workers in memory: more than the contract runs on every storage.

``python -m tests.scenarios.histories`` runs thousands.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from pyncette.memory import MemoryRepository
from pyncette.testing.contract.app.bench import Bench
from pyncette.testing.contract.app.operating import History


@pytest.mark.parametrize("seed", range(100, 110))
async def test_history(seed: int) -> None:
    repository = MemoryRepository()
    bench = Bench(lambda **_: nullcontext(repository), repository)
    assert await History(bench, seed).run(steps=25) == []
