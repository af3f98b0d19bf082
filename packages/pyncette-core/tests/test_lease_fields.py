"""Every event of the lease, field by field: its parameters are stored, and everything else stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pyncette import lease
from pyncette.record import Band, Change, Record, Ref

NOW = 1_800_000_000_000_000
OLD = Record("task", "task:a", NOW - 9, NOW - 8, NOW - 8, "holder", "old", 7, 3, "spec", "state")
PAUSED = replace(OLD, ready_at=Band.PAUSED.at(NOW), locked_until=None, locked_by=None)
AHEAD = replace(OLD, due_at=NOW + 1)
FREE = replace(OLD, locked_until=None, locked_by=None, revision="new")
LATER: dict[str, Any] = {"due_at": 5, "attempt": 6, "state": "other"}


@pytest.mark.parametrize(
    "event, new",
    [
        (
            lambda: lease.register(OLD, Ref("task", "task:a"), due_at=5, spec="s", revision="new", ready_at=6),
            Record("task", "task:a", 5, 6, None, None, "new", 7, 0, "s"),
        ),
        (
            lambda: lease.register(OLD, Ref("task", "task:a"), due_at=5, spec="s", revision="new"),
            Record("task", "task:a", 5, 5, None, None, "new", 7, 0, "s"),
        ),
        (lambda: lease.update(OLD, spec="s", revision="new"), replace(OLD, spec="s", revision="new")),
        (
            lambda: lease.move(OLD, due_at=5, spec="s", state="t", revision="new", ready_at=6),
            replace(FREE, due_at=5, ready_at=6, attempt=0, spec="s", state="t"),
        ),
        (
            lambda: lease.move(PAUSED, due_at=5, spec="s", state="t", revision="new", ready_at=6),
            replace(FREE, due_at=5, ready_at=PAUSED.ready_at, attempt=0, spec="s", state="t"),
        ),
        (
            lambda: lease.adopt(
                replace(OLD, due_at=NOW + 1), due_at=5, spec="s", now=NOW, revision="new", ready_at=6, state="t"
            ),
            replace(FREE, due_at=5, ready_at=6, attempt=0, spec="s", state="t"),
        ),
        (
            lambda: lease.adopt(PAUSED, due_at=5, spec="s", now=NOW - 99, revision="new", ready_at=6, state="t"),
            replace(PAUSED, spec="s", revision="new"),
        ),
        (
            lambda: lease.extend(replace(OLD, locked_until=None), locked_until=-5, revision="new"),
            replace(OLD, locked_until=0, ready_at=0, revision="new"),
        ),
        (
            lambda: lease.complete(OLD, next_due=5, revision="new", state="t", ready_at=6),
            replace(FREE, due_at=5, ready_at=6, attempt=0, state="t"),
        ),
        (lambda: lease.retry(OLD, at=4, revision="new", **LATER), replace(FREE, ready_at=4, **LATER)),
        (lambda: lease.retry(OLD, at=None, revision="new"), replace(OLD, revision="new")),
        (lambda: lease.retry(OLD, at=4, revision="new"), replace(FREE, ready_at=4)),
        (lambda: lease.note(OLD, state="t", revision="new"), replace(OLD, state="t", revision="new")),
        (
            lambda: lease.revive(OLD, due_at=5, ready_at=6, attempt=2, state="t", revision="new"),
            replace(FREE, due_at=5, ready_at=6, attempt=2, state="t"),
        ),
        (
            lambda: lease.hold(OLD, Band.DEAD, moment=NOW, revision="new", **LATER),
            replace(FREE, ready_at=Band.DEAD.at(NOW), **LATER),
        ),
        (lambda: lease.hold(OLD, Band.DEAD, moment=NOW, revision="new"), replace(FREE, ready_at=Band.DEAD.at(NOW))),
    ],
)
def test_each_field(event: Callable[[], Change], new: Record) -> None:
    """The event runs in the test, not at collection, because mutation testing activates mutants in between."""
    change = event()
    assert change.new == new
    assert change.old is not None
    assert change.old.revision == "old"


def test_a_claim() -> None:
    claimed = lease.claim(OLD, now=NOW, locked_until=NOW + 5, token="token", holder="mine")
    expected = Record("task", "task:a", NOW - 9, NOW + 5, NOW + 5, "mine", "token", NOW, 4, "spec", "state")
    assert claimed == expected
