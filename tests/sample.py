"""pytest plugin: the usual run keeps only some of the longest tests, which take a minute on all stores.

The differences between stores are tested by the contracts and by the tests of each distribution, which run on all of
them. `--thorough` runs all of the long tests too, and so does the nightly run.
"""

from __future__ import annotations

import pytest

KEPT = {
    "packages/pyncette-cli/tests/test_cli_screens.py::test_screens": ("80",),
    "tests/chaos/test_chaos.py::test_everything_is_accounted_for": ("sqlite", "mysql", "sentinel"),
    "tests/endurance/test_endurance.py::test_nothing_grows": ("redis",),
    "tests/contract/test_cancelling_drivers.py::test_cancelled_everywhere": ("redis", "postgres", "mysql"),
    "tests/packaging/test_installs.py::test_editable_installs_beside_wheels": ("editable2",),
    "tests/packaging/test_installs.py::test_all_pulls_everything_and_backends_leave_in_any_order": ("backwards",),
    "tests/scenarios/test_crashes.py::test_four_processes_and_a_server_that_crashes": ("postgres",),
    "tests/scenarios/test_dynamodb_crash.py::test_two_processes_of_which_one_is_killed": (),
    "tests/scenarios/test_outbox.py::test_exactly_what_is_committed_is_executed": ("postgres", "sqlite"),
    "tests/scenarios/test_rolling_deploys.py::test_a_rolling_deploy": ("sqlite", "postgres"),
    "tests/servers_test/test_servers.py::test_sql_keeps_data": ("postgres", "mysql"),
    "tests/servers_test/test_servers.py::test_sql_hangs_while_paused": ("postgres", "mysql"),
    "tests/servers_test/test_supervisor.py::test_all_is_gone": ("killed", "interrupted"),
}
"""By test, the words of which one must occur in a parameter's id for it to be kept."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.thorough:
        return
    left_out = [item for item in items if not is_kept(item.nodeid)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def is_kept(nodeid: str) -> bool:
    test, _, parameters = nodeid.partition("[")
    words = KEPT.get(test)
    return words is None or not {*parameters.removesuffix("]").split("-")}.isdisjoint(words)
