"""What is claimed of each queue: a backlog takes half, and never delays what is on time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pyncette import Context, Pyncette, Task
from pyncette._leases.shares import RECENT, is_behind, shared_out
from pyncette.record import QueueClaim, Record

NOW = 1_800_000_000_000_000
END = NOW + 60_000_000


async def body(context: Context) -> None: ...


def claims(share: int, *, behind: Sequence[str] = (), room: dict[str, int] | None = None) -> list[QueueClaim]:
    app = Pyncette()
    tasks: list[Task] = [app.dynamic_task(name=name)(body) for name in "ab"]
    ends = {"a": END, "b": END}
    return list(shared_out(tasks, share, ends=ends, room={} if room is None else room, behind=behind, now=NOW))


def test_a_queue_that_is_on_time_is_asked_once() -> None:
    assert [(claim.queue.name, claim.limit) for claim in claims(10)] == [("a", 10), ("b", 10)]
    assert {(claim.since, claim.before) for claim in claims(10)} == {(claims(10)[0].since, claims(10)[0].before)}


@pytest.mark.parametrize("share, recent, old", [(10, 5, 5), (11, 6, 5), (2, 1, 1)])
def test_a_backlog_takes_half_and_what_is_recent_comes_first(share: int, recent: int, old: int) -> None:
    first, second, other = claims(share, behind="a")
    assert (first.limit, first.since) == (recent, NOW - RECENT)
    assert (second.limit, second.before) == (old, NOW - RECENT)
    assert (other.queue.name, other.limit) == ("b", share)


def test_one_slot_is_not_divided() -> None:
    assert [claim.limit for claim in claims(1, behind="ab")] == [1, 1]


def test_concurrency_limits_what_is_claimed() -> None:
    room = {"a": 3, "b": 0}
    assert [(claim.queue.name, claim.limit) for claim in claims(10, room=room)] == [("a", 3)]
    assert room == {"a": 0, "b": 0}


@pytest.mark.parametrize("late, attempt, behind", [(RECENT, 0, set()), (RECENT + 1, 0, {"t"}), (RECENT + 1, 1, set())])
def test_what_shows_that_a_queue_is_behind(late: int, attempt: int, behind: set[str]) -> None:
    """Attempts that were lost, or repeated, say nothing of it."""
    found = Record("t", "t:a", NOW - late, NOW - late, None, None, "r", 0, attempt, "{}")
    assert is_behind([found], NOW) == behind
