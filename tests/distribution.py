"""pytest plugin: how pytest-xdist distributes the tests over its processes, with `--dist=loadscope`.

The tests of a class run in one process, but those of its two event loops may run in two, as the contracts are long.
Tests that wait for other processes are distributed one by one. Half of the processes start with these, the others with
tests that compute, so that the processors are busy until the end.
"""

from __future__ import annotations

from typing import Any

import pytest

ONE_BY_ONE = (
    "tests/scenarios/",
    "tests/examples/",
    "tests/servers_test/",
    "tests/chaos/test_chaos.py",
    "tests/endurance/",
)
IN_ONE_PROCESS = ("packages/pyncette-dynamodb/", "tests/packaging/")
"""These run in one process per event loop: DynamoDB Local needs 15 seconds of CPU to warm up, and the wheels are built
once."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByLoop(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith(ONE_BY_ONE):
                return nodeid
            together = next(filter(nodeid.startswith, IN_ONE_PROCESS), None)
            scope: str = together or super()._split_scope(nodeid)
            return f"{scope} on trio" if "[trio" in nodeid else scope

        def remove_node(self, node: Any) -> str | None:
            """The test that ended a process is not run again: it would end the next process too."""
            left = (
                (unit, test) for unit in self.assigned_work[node].values() for test, done in unit.items() if not done
            )
            unit, crashed = next(left, (None, None))
            if unit is not None:
                unit[crashed] = True
            super().remove_node(node)
            return crashed

        def _reschedule(self, node: Any) -> None:
            """A process starts a test only when it has the next one, or knows that there is none. A dead process
            returns single tests, and classes that are done, so one of these might not be enough."""
            if node not in self.registered_collections:
                return  # it replaces one that has died, and is still collecting
            super()._reschedule(node)
            while self._pending_of(self.assigned_work[node]) < 2 and not node.shutting_down:
                super()._reschedule(node)

        def _assign_work_unit(self, node: Any) -> None:
            begins_with_those_that_wait = int(node.gateway.id.removeprefix("gw")) % 2 == 0
            fitting = [scope for scope in self.workqueue if scope.startswith(ONE_BY_ONE) == begins_with_those_that_wait]
            chosen = fitting or list(self.workqueue)
            scope = next((scope for scope in chosen if scope.startswith(IN_ONE_PROCESS)), chosen[0])  # it takes longest
            self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

    return ByLoop(config, log) if config.option.dist == "loadscope" else None
