"""pytest plugin: how pytest-xdist gives out the tests to its processes, with `--dist=loadscope`.

A class stays in one process, but its event loops may be in two: the longest contract is long. Tests that wait for
other processes are given out one by one. Half of the processes begin with them, the others with those that compute, so
that neither the processors nor the clock are idle at the end.
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
"""Their server, in Java, computes for a quarter of a minute before it is fast; and the wheels are built once. Event
loops count as elsewhere."""


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
            """A process has ended. The test that ended it is not run again: it would end the next one too."""
            left = (
                (unit, test) for unit in self.assigned_work[node].values() for test, done in unit.items() if not done
            )
            unit, crashed = next(left, (None, None))
            if unit is not None:
                unit[crashed] = True
            super().remove_node(node)
            return crashed

        def _reschedule(self, node: Any) -> None:
            """A process begins a test when it has the next one, or is told that there is none. What comes back from a
            process that has died are single tests, and classes that were done: one of these is not enough."""
            if node not in self.registered_collections:
                return  # it replaces one that has died, and still collects
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
