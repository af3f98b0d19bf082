"""What is claimed from each queue: what is on time comes first, and a backlog gets at least half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyncette import Context, Pyncette, Task
from pyncette._leases.shares import Shares, admitted, exhausted_by, open_tasks, queues_behind, room_left
from pyncette._lifecycle.queueing import LATE, RECENT, to_backlog
from pyncette._tasks.state import Attempts, State
from pyncette.record import HELD, LEAST, Change, Queue, QueueClaim, Record

NOW = 1_800_000_000_000_000
END = NOW + 60_000_000
DAY = 86_400_000_000
WHOLE, RECENT_ONES, OLD_ONES = (LEAST, HELD), (NOW - RECENT, HELD), (LEAST, NOW - RECENT)


async def body(context: Context) -> None: ...


def records(queue: str, *, recent: int = 0, old: int = 0, attempt: int = 0) -> list[Record]:
    times = [NOW] * recent + [NOW - RECENT - 1] * old
    return [Record(queue, f"{queue}:{n}", at, at, None, None, "r", 0, attempt, "{}") for n, at in enumerate(times)]


class Claims:
    """Claims of the queues ``a`` and ``b``."""

    def __init__(self, *, behind: str = "", limited: str = "") -> None:
        self.shares = Shares()
        self.shares.behind.update(behind)
        self.limited = set(limited)

    def ask(self, share: int, queues: str = "a", room: dict[str, int] | None = None) -> list[QueueClaim]:
        app = Pyncette()
        tasks: list[Task] = [app.dynamic_task(name=name)(body) for name in queues]
        ends = dict.fromkeys(queues, END)
        return self.shares.claims(tasks, share, ends=ends, room={} if room is None else room, now=NOW)

    def answer(self, claims: Sequence[QueueClaim], *found: Record, limit: int = 100) -> set[str]:
        return self.shares.claimed(claims, found, limit=limit, limited=self.limited, now=NOW)


def parts(claims: Sequence[QueueClaim]) -> list[tuple[str, int, tuple[int, int]]]:
    return [(claim.queue.name, claim.limit, (claim.since, claim.before)) for claim in claims]


def test_room_is_what_the_limit_leaves() -> None:
    app = Pyncette()
    limited = [app.dynamic_task(name=name, concurrency=3)(body) for name in "abc"]
    room = room_left([*limited, app.dynamic_task(name="free")(body)], {"a": 1, "b": 3, "free": 7})
    assert room == {"a": 2, "b": 0, "c": 3}


@pytest.mark.parametrize("room, names", [({}, "abc"), ({"a": 0, "b": 1}, "bc"), ({"a": 1, "b": 0, "c": -1}, "a")])
def test_tasks_without_room_are_left_out(room: dict[str, int], names: str) -> None:
    app = Pyncette()
    tasks: list[Task] = [app.dynamic_task(name=name)(body) for name in "abc"]
    assert [task.canonical_name for task in open_tasks(tasks, room)] == list(names)


@pytest.mark.parametrize("behind", ["", "a"])
def test_claims_end_with_the_lease(behind: str) -> None:
    assert {claim.locked_until for claim in Claims(behind=behind).ask(2)} == {END}


def test_a_queue_without_a_backlog_is_claimed_from_once() -> None:
    assert parts(Claims().ask(10, "ab")) == [("a", 10, WHOLE), ("b", 10, WHOLE)]


@pytest.mark.parametrize("share, recent", [(10, 5), (11, 6), (2, 1), (1, 1)])
def test_what_is_on_time_comes_first_in_all_queues_and_gets_half(share: int, recent: int) -> None:
    """The backlog gets the rest."""
    found = parts(Claims(behind="a").ask(share, "ab"))
    assert found == [("a", recent, RECENT_ONES), ("b", share, WHOLE), ("a", share, OLD_ONES)]


@pytest.mark.parametrize("share, old", [(10, 5), (11, 5), (2, 1), (1, 1)])
def test_a_backlog_that_got_less_than_half_comes_first(share: int, old: int) -> None:
    claims = Claims(behind="a")
    claims.answer(claims.ask(2), *records("a", recent=2, old=1))
    assert parts(claims.ask(share, "ab")) == [("a", old, OLD_ONES), ("a", share, RECENT_ONES), ("b", share, WHOLE)]
    claims.answer(claims.ask(2), *records("a", recent=1, old=1))
    assert parts(claims.ask(share))[0] == ("a", share - share // 2, RECENT_ONES)


def test_single_slots_alternate() -> None:
    claims, order = Claims(behind="a"), []
    for _ in range(6):
        asked = claims.ask(1)
        recent = asked[0].since != LEAST
        order.append(recent)
        claims.answer(asked, *records("a", recent=recent, old=not recent), limit=1)
    assert order == [True, False] * 3


def test_a_backlog_ends_when_it_yields_less_than_requested() -> None:
    claims = Claims()
    claims.answer(claims.ask(3), *records("a", old=3), limit=3)
    assert claims.shares.behind == {"a"}
    claims.answer(claims.ask(1), *records("a", recent=1), limit=1)  # it was not claimed, because no slot was left
    assert claims.shares.behind == {"a"}
    claims.answer(claims.ask(3), *records("a", recent=1), limit=3)
    assert not claims.shares.behind


@pytest.mark.parametrize("recent, old, more", [(5, 0, True), (4, 0, False), (4, 10, True), (4, 9, False)])
def test_a_side_that_reaches_its_limit_may_have_more(recent: int, old: int, more: bool) -> None:
    claims = Claims(behind="a")
    assert claims.answer(claims.ask(10), *records("a", recent=recent, old=old)) == ({"a"} if more else set())


def test_concurrency_limits_what_is_claimed() -> None:
    room = {"a": 3, "b": 0}
    assert parts(Claims(limited="ab").ask(10, "bac", room)) == [("a", 3, WHOLE), ("c", 10, WHOLE)]
    assert room == {"a": 0, "b": 0}
    assert parts(Claims(behind="a", limited="a").ask(10, room={"a": 3})) == [("a", 2, RECENT_ONES), ("a", 1, OLD_ONES)]


def test_the_only_execution_that_concurrency_leaves() -> None:
    """One side is claimed and, if that has nothing, the other one in the same pass. The sides take turns."""
    claims = Claims(behind="a", limited="a")
    asked = claims.ask(10, room={"a": 1})
    assert parts(asked) == [("a", 1, RECENT_ONES)]
    assert claims.answer(asked) == {"a"}
    asked = claims.ask(10, room={"a": 1})
    assert parts(asked) == [("a", 1, OLD_ONES)]
    assert not claims.answer(asked)
    claims.shares.begin()
    claims.shares.behind.add("a")
    claims.answer(claims.ask(10, room={"a": 1}), *records("a", recent=1))
    assert parts(claims.ask(10, room={"a": 1})) == [("a", 1, OLD_ONES)]


@pytest.mark.parametrize(
    "behind, recent, old, owing",
    [("a", 2, 0, True), ("a", 3, 2, True), ("a", 1, 1, False), ("a", 1, 2, False), ("", 2, 0, False)],
)
@pytest.mark.parametrize("before", [True, False])
def test_a_limited_backlog_comes_first_after_less_than_half(
    behind: str, recent: int, old: int, owing: bool, before: bool
) -> None:
    """Whatever it got before."""
    claims = Claims(behind="a", limited="a")
    claims.answer(claims.ask(2, room={"a": 2}), *records("a", recent=1, old=int(not before)))
    claims.shares.behind = set(behind)
    claims.answer([], *records("a", recent=recent, old=old))
    claims.shares.behind.add("a")
    assert parts(claims.ask(1, room={"a": 1})) == [("a", 1, OLD_ONES if owing else RECENT_ONES)]


def test_what_is_late_at_the_border_is_on_time() -> None:
    claims = Claims(behind="a")
    [found] = records("a", old=1)
    asked = [replace(claim, limit=1) for claim in claims.ask(1)]
    on_time, late = (claims.answer(asked[:1], replace(found, ready_at=NOW - RECENT + by)) for by in (0, -1))
    assert (on_time, late) == ({"a"}, set())


@pytest.mark.parametrize("late, attempt, behind", [(RECENT, 0, set()), (RECENT + 1, 0, {"t"}), (RECENT + 1, 1, set())])
def test_what_counts_as_a_backlog(late: int, attempt: int, behind: set[str]) -> None:
    """Retries and lost attempts don't count."""
    found = Record("t", "t:a", NOW - late, NOW - late, None, None, "r", 0, attempt, "{}")
    assert queues_behind([found], NOW) == behind


FAILED = State("")
FAILED.record_attempts(Attempts(NOW - RECENT, ended=1, first=NOW))


@pytest.mark.parametrize(
    "due_at, fields, repeated",
    [
        (NOW - RECENT, {"attempt": 1, "state": FAILED.text(1)}, False),  # it began in time
        (
            NOW - RECENT - 1,
            {"attempt": 1, "state": FAILED.text(1).replace(f"{NOW - RECENT}", f"{NOW - RECENT - 1}")},
            True,
        ),
        (NOW - RECENT - 1, {"attempt": 1}, False),  # no attempt has ended, so its worker died
        (NOW - RECENT - 1, {}, False),
    ],
)
@pytest.mark.parametrize("behind, room", [("a", 2), ("a", 3), ("", 2)])
def test_retries_that_crowd_out_what_is_on_time(
    due_at: int, fields: dict[str, Any], repeated: bool, behind: str, room: int
) -> None:
    """Retries of missed occurrences, if there are more of them than slots."""
    claims = Claims(behind=behind)
    found = [replace(record, due_at=due_at, **fields) for record in records("a", recent=2)]
    claims.answer(claims.ask(2 * room), *found)
    assert claims.shares.crowded == ({"a"} if repeated and behind and room == 2 else set())


def test_crowding_retries_go_to_the_end_of_the_backlog() -> None:
    record = Record("a", "a:1", NOW - DAY, NOW, None, None, "r", 7, 1, "{}", FAILED.text(1))
    change = to_backlog(record, NOW + 1, "new")
    assert change == Change(record, replace(record, ready_at=NOW + 1 - LATE, revision="new"))


def test_a_static_task_has_no_backlog() -> None:
    found = Record("t", "t", NOW - RECENT - 1, NOW - RECENT - 1, None, None, "r", 0, 0, "{}")
    assert queues_behind([found], NOW) == set()


def test_admitted_records_fit_the_room_of_each_template() -> None:
    app = Pyncette()
    tasks: dict[str, Task] = {name: app.dynamic_task(name=name)(body) for name in "abc"}
    ready = [*records("a", recent=3), *records("b", recent=2), *records("c", recent=1)]
    found = admitted(ready, tasks, {"a": 2, "b": 0})
    assert [record.key for record in found] == ["a:0", "a:1", "c:0"]


def one_of(queue: str) -> Record:
    return Record(queue, queue, NOW, NOW, None, None, "r", 0, 0, "{}")


def asked_of(*queues: str) -> list[QueueClaim]:
    return [QueueClaim(Queue(name, static=name == "s"), 1, END) for name in queues]


@pytest.mark.parametrize(
    "asked, found, limit, exhausted",
    [
        ("abc", "ab", 3, "abc"),
        ("abc", "b", 1, "a"),
        ("asc", "s", 1, "as"),
        ("sab", "sa", 2, "s"),
        ("abc", "", 3, "abc"),
        ("aabb", "ab", 2, "aa"),
        ("aba", "ab", 2, ""),
    ],
)
def test_which_queues_a_claim_has_emptied(asked: str, found: str, limit: int, exhausted: str) -> None:
    looked_into = exhausted_by(asked_of(*asked), [one_of(name) for name in found], limit)
    assert "".join(queue.name for queue in looked_into) == exhausted
