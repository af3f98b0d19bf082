"""The lease state machine: examples of every branch, and invariants for all records and times."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette import lease
from pyncette.lease import State, state_of
from pyncette.record import MAX_ATTEMPT, MAX_FENCE, Band, Change, Record, Ref

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000

times = st.integers(NOW - 100 * MINUTE, NOW + 100 * MINUTE)


def fresh() -> str:
    return uuid.uuid4().hex


def waiting(due_at: int = NOW + MINUTE, **fields: object) -> Record:
    made = Record("task", "task:a", due_at, due_at, None, None, fresh(), fence=5, attempt=0, spec="old")
    return replace(made, **fields)  # type: ignore[arg-type]  # fields by name


def leased(until: int = NOW + MINUTE, *, due_at: int = NOW - MINUTE, claimed_at: int = NOW - 5) -> Record:
    return lease.claim(waiting(due_at), now=claimed_at, locked_until=until, token=fresh(), holder=fresh())


def held(band: Band = Band.UNREADABLE) -> Record:
    return after(lease.hold(leased(), band, moment=NOW, revision=fresh()))


def after(change: Change | None) -> Record:
    assert change is not None
    assert change.new is not None
    return change.new


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Records that the state machine itself creates."""
    made = waiting(draw(times), fence=draw(st.integers(0, 2 * NOW)), attempt=draw(st.integers(0, 9)))
    for _ in range(draw(st.integers(0, 3))):
        now = draw(times)
        made = lease.claim(
            made, now=now, locked_until=now + draw(st.integers(1, MINUTE)), token=fresh(), holder=fresh()
        )
        match draw(st.sampled_from(["keep", "retry", "release", "complete", "extend", "hold"])):
            case "retry":
                made = after(lease.retry(made, at=draw(times), revision=fresh()))
            case "release":
                made = after(lease.release(made, revision=fresh()))
            case "complete":
                made = after(lease.complete(made, next_due=draw(times), revision=fresh()))
            case "extend":
                made = after(lease.extend(made, locked_until=draw(times), revision=fresh()))
            case "hold":
                made = after(lease.hold(made, draw(st.sampled_from(Band)), moment=draw(times), revision=fresh()))
            case _:
                pass
    return made


# States


def test_states() -> None:
    assert state_of(None, NOW) is State.ABSENT
    assert state_of(waiting(), NOW) is State.WAITING
    assert state_of(waiting(), NOW + MINUTE - 1) is State.WAITING
    assert state_of(waiting(), NOW + MINUTE) is State.READY
    assert state_of(leased(), NOW) is State.LEASED
    assert state_of(leased(), NOW + MINUTE) is State.READY
    assert [state_of(held(band), NOW) for band in Band] == [
        State.DEAD,
        State.PAUSED,
        State.COMPLETED,
        State.UNREADABLE,
    ]


def test_a_lease_is_held_until_another_worker_takes_it() -> None:
    mine = leased()
    assert lease.holds(mine, mine)
    assert lease.holds(mine, replace(mine, spec="new", revision=fresh()))
    assert lease.holds(mine, after(lease.extend(mine, locked_until=NOW + 2 * MINUTE, revision=fresh())))
    theirs = lease.claim(mine, now=NOW + MINUTE, locked_until=NOW + 2 * MINUTE, token=fresh(), holder=fresh())
    assert not lease.holds(mine, theirs)
    assert not lease.holds(mine, replace(theirs, locked_by=mine.locked_by))
    assert not lease.holds(mine, after(lease.retry(mine, at=NOW, revision=fresh())))
    assert not lease.holds(mine, None)


# Scheduling


def register(old: Record | None, due_at: int) -> Record:
    return after(lease.register(old, Ref("task", "task:a"), due_at=due_at, spec="new", revision="revision"))


def test_a_new_instance() -> None:
    assert register(None, NOW + 7) == Record("task", "task:a", NOW + 7, NOW + 7, None, None, "revision", 0, 0, "new")


@pytest.mark.parametrize("old", [waiting(), waiting(NOW - 1), leased(), leased(until=NOW), held()])
def test_registering_overwrites_everything_but_the_fence(old: Record) -> None:
    due_at = NOW + 2 * MINUTE
    new = register(replace(old, state="old"), due_at)
    assert new == Record("task", "task:a", due_at, due_at, None, None, "revision", old.fence, 0, "new")


@given(records())
def test_an_update_changes_only_schedule_and_arguments(old: Record) -> None:
    new = after(lease.update(old, spec="new", revision="revision"))
    assert new == replace(old, spec="new", revision="revision")
    assert old.locked_by is None or lease.holds(old, new)


@given(records(), times)
def test_a_move_begins_another_occurrence(old: Record, due_at: int) -> None:
    new = after(lease.move(old, due_at=due_at, spec="new", state="state", revision="revision"))
    assert (new.due_at, new.attempt, new.fence, new.spec, new.state) == (due_at, 0, old.fence, "new", "state")
    assert (new.locked_by, new.locked_until) == (None, None)
    assert new.ready_at == (old.ready_at if Band.of(old.ready_at) is Band.PAUSED else due_at)


# A static task's schedule changed in code


def adopt(old: Record) -> Record:
    change = lease.adopt(old, due_at=NOW + 9 * MINUTE, spec="new", now=NOW, revision="revision")
    assert change.old == old
    return after(change)


def test_adopting_a_schedule() -> None:
    old = waiting(attempt=3)
    due_at = NOW + 9 * MINUTE
    assert adopt(old) == replace(old, due_at=due_at, ready_at=due_at, attempt=0, spec="new", revision="revision")


@pytest.mark.parametrize(
    "old",
    [
        waiting(NOW),
        leased(),
        leased(until=NOW),
        after(lease.retry(leased(), at=NOW + 9, revision=fresh())),
        held(Band.PAUSED),
        held(Band.DEAD),
    ],
    ids=["overdue", "leased", "expired", "to be retried", "paused", "dead"],
)
def test_adopting_a_schedule_respects_an_execution_in_progress(old: Record) -> None:
    new = adopt(old)
    assert new == replace(old, spec="new", revision="revision")
    assert old.locked_by is None or lease.holds(old, new)


@pytest.mark.parametrize("band", [Band.UNREADABLE, Band.COMPLETED])
def test_adopting_a_schedule_revives_what_was_unreadable_or_completed(band: Band) -> None:
    old = held(band)
    new = adopt(old)
    assert new == replace(
        old, due_at=NOW + 9 * MINUTE, ready_at=NOW + 9 * MINUTE, attempt=0, spec="new", revision="revision"
    )


# Leases


@pytest.mark.parametrize("fence, expected", [(0, NOW), (NOW - 1, NOW), (NOW, NOW + 1), (NOW + 5, NOW + 6)])
def test_claiming(fence: int, expected: int) -> None:
    old = waiting(NOW - MINUTE, fence=fence, attempt=1)
    until = NOW + MINUTE
    assert lease.claim(old, now=NOW, locked_until=until, token="t", holder="h") == Record(
        "task", "task:a", NOW - MINUTE, until, until, "h", "t", expected, 2, "old"
    )


def test_extending() -> None:
    old = leased()
    until = NOW + 5 * MINUTE
    change = lease.extend(old, locked_until=until, revision="r")
    assert change == Change(old, replace(old, ready_at=until, locked_until=until, revision="r"))


def test_a_lease_is_never_shortened() -> None:
    old = leased(until=NOW + MINUTE)
    assert after(lease.extend(old, locked_until=NOW + 1, revision=fresh())).locked_until == NOW + MINUTE


def test_completing() -> None:
    old = leased()
    change = lease.complete(old, next_due=NOW + 7, revision="r")
    new = replace(old, due_at=NOW + 7, ready_at=NOW + 7, locked_until=None, locked_by=None, attempt=0, revision="r")
    assert change == Change(old, new)
    assert lease.complete(old, next_due=None, revision="r") == Change(old, None)


def test_retrying() -> None:
    old = leased()
    new = replace(old, ready_at=NOW + 7, locked_until=None, locked_by=None, revision="r")
    assert lease.retry(old, at=NOW + 7, revision="r") == Change(old, new)


def test_releasing() -> None:
    before = waiting(NOW - 3, attempt=4)
    held = lease.claim(before, now=NOW, locked_until=NOW + MINUTE, token=fresh(), holder=fresh())
    change = lease.release(held, revision="r")
    assert change == Change(held, replace(before, fence=held.fence, revision="r"))


def test_releasing_what_was_never_claimed() -> None:
    assert after(lease.release(waiting(attempt=0), revision=fresh())).attempt == 0


def test_releasing_with_a_delay() -> None:
    old = leased()
    assert after(lease.release(old, at=NOW + 7, revision="r")) == replace(
        after(lease.release(old, revision="r")), ready_at=NOW + 7
    )


@pytest.mark.parametrize("band", Band)
def test_holding(band: Band) -> None:
    old = leased()
    change = lease.hold(old, band, moment=NOW, revision="r")
    assert change == Change(old, replace(old, ready_at=band.at(NOW), locked_until=None, locked_by=None, revision="r"))


def test_completing_with_a_state() -> None:
    old = replace(leased(), state="old")
    assert after(lease.complete(old, next_due=NOW, revision="r")).state == "old"
    assert after(lease.complete(old, next_due=NOW, revision="r", state="new")).state == "new"


def test_a_damaged_record_can_be_claimed() -> None:
    old = waiting(fence=MAX_FENCE, attempt=MAX_ATTEMPT)
    taken = lease.claim(old, now=NOW, locked_until=NOW + 1, token="t", holder="h")
    assert (taken.fence, taken.attempt) == (MAX_FENCE, MAX_ATTEMPT)


# Invariants of all events


def outcomes(old: Record, now: int, moment: int) -> dict[str, Record | None]:
    """The result of each event for a record."""
    holder = fresh()
    claimed = lease.claim(old, now=now, locked_until=now + MINUTE, token=fresh(), holder=holder)
    changes = {
        "register": lease.register(old, old.ref, due_at=moment, spec="new", revision=fresh()),
        "update": lease.update(old, spec="new", revision=fresh()),
        "move": lease.move(old, due_at=moment, spec="new", state="", revision=fresh()),
        "adopt": lease.adopt(old, due_at=moment, spec="new", now=now, revision=fresh()),
        "extend": lease.extend(old, locked_until=moment, revision=fresh()),
        "complete": lease.complete(old, next_due=moment, revision=fresh()),
        "end": lease.complete(old, next_due=None, revision=fresh()),
        "retry": lease.retry(old, at=moment, revision=fresh()),
        "release": lease.release(old, revision=fresh()),
        "hold": lease.hold(old, Band.DEAD, moment=now, revision=fresh()),
    }
    assert all(change.old == old for change in changes.values())
    return {"claim": claimed, **{name: change.new for name, change in changes.items()}}


@given(records(), times, times)
def test_every_event_keeps_the_invariants(old: Record, now: int, moment: int) -> None:
    for event, new in outcomes(old, now, moment).items():
        if new is None:
            assert event == "end"
            continue
        assert new.ref == old.ref
        assert new.revision != old.revision
        assert new.fence > old.fence if event == "claim" else new.fence == old.fence
        assert new.attempt >= 0
        assert (new.locked_until is None) == (new.locked_by is None) or event == "extend"
        assert new.locked_until in (None, new.ready_at)
        if event not in ("register", "update", "move", "adopt"):
            assert new.spec == old.spec
        if event not in ("register", "move", "adopt", "complete"):
            assert new.due_at == old.due_at


@given(st.lists(st.tuples(times, st.booleans()), min_size=2, max_size=8), st.integers(0, 2 * NOW))
def test_the_fence_grows_with_every_claim_even_if_the_clock_goes_back(
    claims: list[tuple[int, bool]], fence: int
) -> None:
    current = waiting(fence=fence)
    for now, give_back in claims:
        taken = lease.claim(current, now=now, locked_until=now + 1, token=fresh(), holder=fresh())
        assert taken.fence > current.fence
        assert taken.fence >= now
        current = after(lease.release(taken, revision=fresh())) if give_back else taken


@given(records(), times)
def test_a_claimed_record_is_leased_until_its_end(old: Record, now: int) -> None:
    taken = lease.claim(old, now=now, locked_until=now + MINUTE, token=fresh(), holder=fresh())
    assert state_of(taken, now) is State.LEASED
    assert state_of(taken, now + MINUTE - 1) is State.LEASED
    assert state_of(taken, now + MINUTE) is State.READY


@given(records(), times, times)
def test_events_do_not_change_the_old_record(old: Record, now: int, moment: int) -> None:
    before = dataclasses.asdict(old)
    outcomes(old, now, moment)
    assert dataclasses.asdict(old) == before
