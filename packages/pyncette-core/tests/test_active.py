"""Which executions of its own a process recognizes when it claims them again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyncette import ExecutionMode
from pyncette._leases.active import Active
from tests.helpers.leases import DUE, MINUTE, made


@pytest.mark.parametrize(
    "due_at, is_own",
    [
        pytest.param(DUE, True, id="the record is unchanged"),
        pytest.param(DUE + 3 * MINUTE, True, id="another worker has counted the occurrences before it as missed"),
        pytest.param(DUE + MINUTE, False, id="rescheduled"),
    ],
)
def test_the_last_of_several_missed_occurrences(due_at: int, is_own: bool) -> None:
    active, held = Active(), made()
    held.due_at = DUE + 3 * MINUTE
    active.add(held)
    found = active.executing(replace(held.record, due_at=due_at, fence=held.record.fence + 1))
    assert found is (held if is_own else None)


def test_at_most_once_there_is_none() -> None:
    active, held = Active(), made(execution_mode=ExecutionMode.AT_MOST_ONCE)
    active.add(held)
    assert active.executing(held.record) is None
