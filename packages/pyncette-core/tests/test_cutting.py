"""When an execution is cut short, depending on policies and the stored record."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from pyncette import Overlap, Policies
from pyncette._lifecycle.continuation import store_window
from pyncette._lifecycle.cutting import (
    cancelled_with_lease,
    cuts,
    may_be_superseded,
    needs_scope,
    superseded_at,
    times_out_at,
)
from pyncette._lifecycle.moments import Window, came_due
from pyncette._tasks.spec import Spec, encode
from pyncette._tasks.state import Attempts, State
from pyncette.record import Record
from pyncette.schedule import Interval

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_800_000_000 * SECOND
SPEC = Spec(Interval(MINUTE))
CANCELLING = Policies(overlap=Overlap.CANCEL)


@pytest.mark.parametrize(
    "policies, expected",
    [
        (Policies(), (False, False, False, False)),
        (Policies(overlap=Overlap.SKIP, heartbeat=False), (False, False, False, False)),
        (CANCELLING, (True, True, True, False)),
        (Policies(timeout=datetime.timedelta(0)), (True, False, True, False)),
        (Policies(heartbeat="cancel"), (False, False, True, True)),
    ],
)
def test_which_policies_cut_executions_short(policies: Policies, expected: tuple[bool, ...]) -> None:
    kinds = (cuts, may_be_superseded, needs_scope, cancelled_with_lease)
    assert tuple(kind(policies) for kind in kinds) == expected


def test_when_it_times_out() -> None:
    assert times_out_at(Policies(), NOW) is None
    assert times_out_at(Policies(timeout=datetime.timedelta(seconds=3)), NOW) == NOW + 3 * SECOND


def state(why: str | None = None, first: int | None = None, window: Window | None = None) -> str:
    found = State("")
    found.set("why", why)
    if first is not None:
        found.record_attempts(Attempts(NOW, ended=1, first=first))
    store_window(found, window)
    return found.text(5)


JITTER = Policies(overlap=Overlap.CANCEL, jitter=datetime.timedelta(seconds=50))
TAKEN_OFF = ((NOW + MINUTE, NOW + 3 * MINUTE),)


@pytest.mark.parametrize(
    "policies, text, pauses, expected",
    [
        pytest.param(Policies(), "", (), None, id="never"),
        pytest.param(CANCELLING, "", (), NOW + 2 * MINUTE, id="the next after it began"),
        pytest.param(CANCELLING, state(first=NOW), (), NOW + MINUTE, id="the next after its first attempt"),
        pytest.param(CANCELLING, state(why="x"), (), None, id="what is paused is not executed"),
        pytest.param(CANCELLING, "", TAKEN_OFF, NOW + 3 * MINUTE, id="nor while the template is"),
        pytest.param(
            CANCELLING, state(window=Window(NOW + MINUTE, NOW + 4 * MINUTE)), (), NOW + 5 * MINUTE, id="window"
        ),
        pytest.param(JITTER, "", (), came_due(SPEC, JITTER, "task:a", NOW + 2 * MINUTE), id="jitter"),
    ],
)
def test_when_it_is_superseded(
    policies: Policies, text: str, pauses: tuple[tuple[int, int], ...], expected: int | None
) -> None:
    record = Record("task", "task:a", NOW, NOW, NOW + MINUTE, "w", "r", 5, 1, encode(SPEC), text)
    assert superseded_at(record, SPEC, policies, NOW, NOW + MINUTE + 1 + 49 * SECOND, pauses) == expected


def test_a_run_has_no_more_attempts_than_were_claimed() -> None:
    """If more are recorded, the record is damaged."""
    record = Record("task", "task:a", NOW, NOW, NOW + MINUTE, "w", "r", 5, 0, encode(SPEC), state(first=NOW))
    assert superseded_at(record, SPEC, CANCELLING, NOW, NOW + MINUTE) == NOW + 2 * MINUTE
    assert superseded_at(replace(record, attempt=1), SPEC, CANCELLING, NOW, NOW + MINUTE) == NOW + MINUTE
