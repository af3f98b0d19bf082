"""A few seconds of chaos on each store; a minute with --thorough."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers import dynamodb
from tests.servers.cache import Unavailable
from tests.servers.plugin import StartServer

from . import clocks
from .report import as_text
from .scene import Plan
from .showing import show
from .stores import STORES, started

SLOW = {"dynamodb": 20}
"""The number of instances on slow stores."""


SEED = 7
"""With this seed, each kind of fault occurs within the short run."""
FAIL_OVERS = ("kill", "failover", "operators")
"""The faults of stores with several servers in the short run. The others are tested on single servers."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", STORES)
def test_everything_is_accounted_for(
    name: str,
    start_server: StartServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    dynamodb.credentials(monkeypatch)
    thorough = pytestconfig.option.thorough
    try:
        clocks.prepare()
    except Unavailable as error:
        pytest.skip(f"no clocks that can be wrong: {error}")
    with started(name, start_server, tmp_path) as store:
        plan = Plan(
            store=name,
            seconds=60 if thorough else 6,
            seed=random.randrange(10**6) if thorough else SEED,
            faults=store.faults() if thorough or store.fail_over is None else FAIL_OVERS,
            workers=4 if thorough else 2,
            operators=2 if thorough else 1,
            instances=SLOW.get(name, 100),
            every=1.0 if thorough else 0.7,
        )
        told = show(plan, store, tmp_path)
    assert told["passed"], as_text(told)
    done = {cause.partition(",")[0] for cause in told["faults"]}
    assert thorough or done == set(plan.faults) - {"operators"}
    assert told["occurrences"] >= plan.seconds * plan.instances
    if thorough:
        print(as_text(told))
