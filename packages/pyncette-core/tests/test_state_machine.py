"""docs/state_machine.md matches lease.py: every event is run from every state and compared with the drawing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

from pyncette import lease
from pyncette.lease import State, state_of
from pyncette.record import Band, Change, Record, Ref

PAGE = Path(__file__).parents[3] / "docs" / "state_machine.md"

NOW = 1_800_000_000_000_000
MINUTE = 60_000_000
REF = Ref("task", "task:a")

Transition = tuple[State, str, State]


def fresh() -> str:
    return uuid.uuid4().hex


def new_record(due_at: int) -> Record:
    change = lease.register(None, REF, due_at=due_at, spec="{}", revision=fresh())
    assert change.new is not None
    return change.new


def held(until: int) -> Record:
    due = new_record(NOW - MINUTE)
    return lease.claim(due, now=NOW - MINUTE, locked_until=until, token=fresh(), holder=fresh())


def result(change: Change) -> Record:
    assert change.new is not None
    return change.new


def examples() -> list[Record | None]:
    """Records in every state, reached in every possible way."""
    running, expired = held(NOW + MINUTE), held(NOW)
    return [
        None,
        new_record(NOW + MINUTE),
        result(lease.retry(running, at=NOW + 1, revision=fresh())),
        new_record(NOW),
        result(lease.retry(running, at=NOW, revision=fresh())),
        expired,
        running,
        result(lease.extend(expired, locked_until=NOW + MINUTE, revision=fresh())),
        *(result(lease.hold(running, band, moment=NOW, revision=fresh())) for band in Band),
    ]


def register(old: Record | None) -> Iterator[Change | None]:
    for due_at in (NOW - 2 * MINUTE, NOW, NOW + 2 * MINUTE):
        yield lease.register(old, REF, due_at=due_at, spec="{}", revision=fresh())


def update(old: Record | None) -> Iterator[Change | None]:
    if old is not None and state_of(old, NOW) is not State.UNREADABLE:
        yield lease.update(old, spec="{}", revision=fresh())


def move(old: Record | None) -> Iterator[Change | None]:
    if old is not None and state_of(old, NOW) not in {State.UNREADABLE, State.LEASED}:
        for due_at in (NOW - 2 * MINUTE, NOW, NOW + 2 * MINUTE):
            yield lease.move(old, due_at=due_at, spec="{}", state="", revision=fresh())


def adopt(old: Record | None) -> Iterator[Change | None]:
    if old is not None:
        yield lease.adopt(old, due_at=NOW + 2 * MINUTE, spec="{}", now=NOW, revision=fresh())


def claim(old: Record | None) -> Iterator[Change | None]:
    if old is not None and old.ready_at <= NOW:
        yield Change(old, lease.claim(old, now=NOW, locked_until=NOW + MINUTE, token=fresh(), holder=fresh()))


def extend(old: Record | None) -> Iterator[Change | None]:
    if is_held(old):
        yield lease.extend(old, locked_until=NOW + 2 * MINUTE, revision=fresh())


def complete(old: Record | None) -> Iterator[Change | None]:
    if is_held(old):
        for next_due in (NOW - 1, NOW, NOW + MINUTE, None):
            yield lease.complete(old, next_due=next_due, revision=fresh())


def retry(old: Record | None) -> Iterator[Change | None]:
    if is_held(old):
        for at in (NOW, NOW + 1):
            yield lease.retry(old, at=at, revision=fresh())


def release(old: Record | None) -> Iterator[Change | None]:
    if is_held(old):
        yield lease.release(old, revision=fresh())
        yield lease.release(old, at=NOW + MINUTE, revision=fresh())


def hold(old: Record | None) -> Iterator[Change | None]:
    if is_held(old):
        for band in Band:
            yield lease.hold(old, band, moment=NOW, revision=fresh())
    elif old is not None and state_of(old, NOW) in {State.WAITING, State.READY}:
        yield lease.hold(old, Band.PAUSED, moment=NOW, revision=fresh())


def note(old: Record | None) -> Iterator[Change | None]:
    if old is not None and state_of(old, NOW) in {State.LEASED, State.DEAD, State.COMPLETED}:
        yield lease.note(old, state="", revision=fresh())


def revive(old: Record | None) -> Iterator[Change | None]:
    if old is not None and state_of(old, NOW) in {State.PAUSED, State.DEAD}:
        for moment in (NOW, NOW + MINUTE):
            yield lease.revive(old, due_at=moment, ready_at=moment, attempt=0, state="", revision=fresh())
    if old is not None and state_of(old, NOW) is State.DEAD:
        at = Band.PAUSED.at(NOW)
        yield lease.revive(old, due_at=NOW, ready_at=at, attempt=0, state="", revision=fresh())


def remove(old: Record | None) -> Iterator[Change | None]:
    if old is not None:
        yield Change(old, None)


def is_held(record: Record | None) -> TypeGuard[Record]:
    return record is not None and record.locked_by is not None


EVENTS: list[Callable[[Record | None], Iterator[Change | None]]] = [
    register,
    update,
    move,
    adopt,
    claim,
    extend,
    complete,
    retry,
    release,
    hold,
    note,
    revive,
    remove,
]


def transitions_of_the_code() -> set[Transition]:
    found = {
        (state_of(old, NOW), event.__name__, state_of(change.new, NOW))
        for old in examples()
        for event in EVENTS
        for change in event(old)
        if change is not None
    }
    passing = {
        (state_of(old, NOW), "time passes", state_of(old, NOW + 10 * MINUTE)) for old in examples() if old is not None
    }
    return found | {(before, event, after) for before, event, after in passing if before is not after}


def transitions_of_the_drawing() -> set[Transition]:
    (drawing,) = re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    arrows = re.findall(r"^\s*(\S+) --> (\S+): (.+)$", drawing, flags=re.MULTILINE)
    return {
        (state(before), event.strip(), state(after)) for before, after, events in arrows for event in events.split(",")
    }


def state(name: str) -> State:
    return State.ABSENT if name == "[*]" else State(name.lower())


def test_the_examples_cover_every_state() -> None:
    assert {state_of(one, NOW) for one in examples()} == set(State)


def test_the_drawing_shows_what_the_code_does() -> None:
    drawn, coded = transitions_of_the_drawing(), transitions_of_the_code()
    assert sorted(map(str, coded - drawn)) == [], "missing in the drawing"
    assert sorted(map(str, drawn - coded)) == [], "drawn, but does not happen"


@pytest.mark.parametrize("event", [*(event.__name__ for event in EVENTS), "time passes"])
def test_every_event_is_explained(event: str) -> None:
    assert re.search(rf"^\| {event} \| ", PAGE.read_text(), flags=re.MULTILINE)


def test_every_function_of_the_state_machine_is_an_event() -> None:
    functions = {name for name, value in vars(lease).items() if callable(value) and not name.startswith("_")}
    functions -= {"State", "Band", "Change", "Record", "Ref", "replace", "state_of", "holds"}
    assert functions | {"remove"} == {event.__name__ for event in EVENTS}
