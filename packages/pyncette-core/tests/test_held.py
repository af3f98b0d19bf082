"""A held lease: how changes of the stored record affect it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace

import pytest

from pyncette import lease
from pyncette._lifecycle.moments import came_due
from pyncette._tasks.spec import LaterSpec, encode
from pyncette.record import Record
from tests.helpers.leases import DUE, ENDS, EVERY_HOUR, EVERY_MINUTE, MINUTE, NOW, SECOND, asked, due, made, taken

LATER = '{"v":99}'


def test_just_claimed() -> None:
    held = made()
    assert (held.record, held.before, held.due_at, held.ready_at) == (taken(due()), due(), DUE, DUE)
    assert (held.args, held.claimed_at, held.skips) == ({"number": 1, "other": 2}, NOW, ())
    nothing = (held.extra, held.limit, held.advanced, held.carried, held.started_at, held.scope)
    assert nothing == (None,) * 6
    flags = (held.lost, held.taken, held.ended, held.renewing, held.warned)
    assert all(flag is False for flag in flags)


def test_an_occurrence_other_than_the_records() -> None:
    """One of several missed occurrences."""
    held = made()
    assert held.run is held.record
    held.due_at = DUE + MINUTE
    assert held.run == replace(held.record, due_at=DUE + MINUTE)


def test_when_it_came_due() -> None:
    held = made(jitter=datetime.timedelta(seconds=30))
    assert held.ready_at == came_due(EVERY_MINUTE, held.task.policies, "task:a", DUE) > DUE


def test_a_run_outside_the_schedule() -> None:
    held = made(asked(), jitter=datetime.timedelta(seconds=30))
    assert held.extra is not None
    assert held.extra.id == "id"
    assert held.due_at == held.ready_at == NOW - 3 * SECOND
    assert held.args == {"number": 7, "other": 2}


def test_a_record_of_a_later_version_is_not_executed() -> None:
    with pytest.raises(LaterSpec):
        made(due(state=LATER))


@pytest.mark.parametrize(
    "stored, lost, is_taken",
    [
        pytest.param(lambda mine: mine, False, False, id="as it was"),
        pytest.param(lambda mine: replace(mine, revision="s", state="noted"), False, False, id="noted"),
        pytest.param(lambda mine: replace(mine, spec=encode(EVERY_HOUR)), False, False, id="another schedule"),
        pytest.param(lambda mine: replace(mine, spec="damaged"), True, False, id="damaged"),
        pytest.param(lambda mine: replace(mine, state=LATER), True, False, id="a later version has written it"),
        pytest.param(lambda mine: replace(mine, locked_by=None), True, False, id="overwritten"),
        pytest.param(lambda mine: replace(mine, locked_by=None, fence=0), True, False, id="removed, and another"),
        pytest.param(lambda mine: taken(mine, "theirs"), True, True, id="another's"),
        pytest.param(lambda mine: None, True, False, id="removed"),
    ],
)
def test_changes_of_the_stored_record(stored: Callable[[Record], Record | None], lost: bool, is_taken: bool) -> None:
    held = made()
    mine, found = held.record, stored(held.record)
    assert held.rebase(found, NOW) is not lost
    assert (held.lost, held.taken) == (lost, is_taken)
    assert held.lost is lost
    assert held.record is (mine if lost else found)
    assert held.spec == (EVERY_HOUR if found is not None and found.spec == encode(EVERY_HOUR) else EVERY_MINUTE)
    assert held.rebase(mine, NOW) is not lost, "what is lost stays so"


@pytest.mark.parametrize("ends, now, is_taken", [(ENDS, ENDS - 1, False), (ENDS, ENDS, True), (None, NOW, True)])
def test_a_missing_record_may_have_been_executed_by_another_worker(ends: int | None, now: int, is_taken: bool) -> None:
    """But only once its lease has expired."""
    held = made()
    held.record = replace(held.record, locked_until=ends)
    assert not held.rebase(None, now)
    assert held.taken is is_taken


@pytest.mark.parametrize(
    "lost, before, continues",
    [
        (False, lambda mine: mine, True),
        (False, lambda mine: replace(mine, revision="s", locked_until=ENDS + 5, attempt=4), True),
        (False, lambda mine: taken(mine, "theirs"), False),
        (True, lambda mine: mine, False),
    ],
)
def test_it_is_claimed_again_by_its_holder(lost: bool, before: Callable[[Record], Record], continues: bool) -> None:
    held = made()
    held.lost, mine, found = lost, held.record, before(held.record)
    again = lease.claim(found, now=ENDS + 5, locked_until=ENDS + MINUTE, token="again", holder="again")
    assert held.reclaimed(found, again) is continues
    same = replace(again, locked_until=found.locked_until, attempt=found.attempt)
    assert held.record == (same if continues else mine)
