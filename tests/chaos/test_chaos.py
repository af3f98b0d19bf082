"""A few seconds of chaos on each store; a minute with --thorough."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.helpers import dynamodb
from tests.servers.plugin import StartServer

from .report import as_text
from .scene import Plan
from .showing import show
from .stores import STORES, started

SLOW = {"dynamodb": 20}
"""Instances on stores that take fewer."""


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
    with started(name, start_server, tmp_path) as store:
        plan = Plan(
            store=name,
            seconds=60 if thorough else 6,
            seed=random.randrange(10**6) if thorough else 1,
            faults=tuple(store.possible),
            workers=4 if thorough else 2,
            operators=2 if thorough else 1,
            instances=SLOW.get(name, 100),
            every=1.0 if thorough else 0.7,
        )
        told = show(plan, store, tmp_path)
    assert told["passed"], as_text(told)
    assert told["faults in all"] >= plan.seconds / plan.every / 4, as_text(told)
    assert told["occurrences"] >= plan.seconds * plan.instances
    if thorough:
        print(as_text(told))
