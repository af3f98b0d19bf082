"""The run log, an optional part: ``swap`` appends lines, ``runs`` and ``prune_runs``.

If a store has none, the same tests check that it says so, and that it accepts changes that carry a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pyncette.errors import RepositoryException
from pyncette.record import Change, Record, RunLine, RunQuestion, Swap
from pyncette.repository import Repository

from .base import (
    APPLIED,
    CONFLICT,
    NOW,
    ContractBase,
    applied,
    assert_same,
    fresh,
    insert,
    numbered,
    record,
    static,
    stored,
)


def line(number: int = 0, *, queue: str = "task", ended_at: int | None = None, **fields: Any) -> RunLine:
    values = {"key": f"{queue}:instance", "outcome": "succeeded", "text": "{}", **fields}
    return RunLine(f"{number:06}-{queue}", queue, ended_at=NOW + number if ended_at is None else ended_at, **values)


def lines_of_many(numbers: Iterable[int], *, step: int = 1) -> list[RunLine]:
    """Lines of this many instances, ``step`` of which ended at each moment."""
    return [line(number, key=f"task:{number}", ended_at=NOW + number // step) for number in numbers]


def newest_first(lines: Sequence[RunLine]) -> list[RunLine]:
    return sorted(lines, key=lambda one: (one.ended_at, one.id), reverse=True)


class RunLogContract(ContractBase):
    async def test_runs_of_an_empty_log(self, repository: Repository) -> None:
        """There are none at first, and none to prune. ``keeps_runs`` says whether there is a log."""
        if await _keeps(self, repository):
            assert await repository.runs(RunQuestion(limit=10)) == []
            assert await repository.prune_runs(before=NOW, limit=10) == 0

    async def test_a_run_is_appended_with_its_change(self, repository: Repository) -> None:
        """With inserts, updates and deletions, including static tasks; other changes of the batch append nothing."""
        if not await _keeps(self, repository):
            return
        one, other, third = record(), static("static"), record(name="third")
        lines = [line(0), line(1, queue="static", key="static"), line(2)]
        lines += [line(3, queue="static", key="static"), line(4, key=third.key)]
        changes = [Change(None, one, lines[0]), Change(None, other, lines[1]), Change(None, third)]
        assert await repository.swap(changes) == [APPLIED] * 3
        await _found(repository, lines[:2])
        new = replace(one, revision=fresh(), state="new")
        respecified = replace(third, revision=fresh(), spec="new")
        changes = [Change(one, new, lines[2]), Change(other, None, lines[3]), Change(third, respecified, lines[4])]
        assert await repository.swap(changes) == [APPLIED] * 3
        assert await stored(repository, [one, other, third]) == [new, None, respecified]
        await _found(repository, lines)

    async def test_a_conflict_appends_no_run(self, repository: Repository) -> None:
        """A change that is not applied leaves no line, wherever it stands between others that are."""
        if not await _keeps(self, repository):
            return
        present, absent = numbered(20), numbered(20, "absent")
        await insert(repository, present)
        changes, expected = _every_other_fails(present, absent)
        swaps = await repository.swap(changes)
        assert_same(swaps, expected)
        applied = [change.run for change, swap in zip(changes, swaps, strict=True) if swap]
        await _found(repository, [one for one in applied if one])

    async def test_a_run_that_is_appended_again(self, repository: Repository) -> None:
        """After a lost reply, the same line may come again, with a change that is applied: it is there once."""
        if not await _keeps(self, repository):
            return
        one = record()
        assert await repository.swap([Change(None, one, line())]) == [APPLIED]
        for _ in range(2):
            new = replace(one, revision=fresh())
            assert await repository.swap([Change(one, new, line())]) == [APPLIED]
            one = new
        assert await stored(repository, [one]) == [one]
        await _found(repository, [line()])

    async def test_runs_newest_first(self, repository: Repository) -> None:
        """Page by page, even with many at the same moment; lines appended between pages cause no repetition and hide
        nothing.
        """
        if not await _keeps(self, repository):
            return
        old = lines_of_many(range(50), step=7)
        await _log(repository, old[::2])
        await _log(repository, old[1::2])
        await _found(repository, old)
        first = await repository.runs(RunQuestion(limit=20))
        await _log(repository, lines_of_many(range(60, 65)))
        rest = await repository.runs(RunQuestion(after=(first[-1].ended_at, first[-1].id), limit=100))
        assert_same(newest_first([*first, *rest]), newest_first(old))

    async def test_runs_by_task_instance_outcome_and_time(self, repository: Repository) -> None:
        """Each filter by itself, and all of them together."""
        if not await _keeps(self, repository):
            return
        lines = [
            line(
                number,
                queue=queue,
                key=f"{queue}:{number % 3}",
                outcome=("succeeded", "failed", "late")[number % 4 % 3],
            )
            for number in range(30)
            for queue in ("task", "other", "Task")
        ]
        await _log(repository, lines)

        def of(**wanted: Any) -> list[RunLine]:
            return [one for one in lines if all(getattr(one, name) in values for name, values in wanted.items())]

        await _found(repository, of(queue=["other"]), queues=["other"])
        await _found(repository, of(queue=["task", "Task"]), queues=["task", "absent", "Task"])
        await _found(repository, [], queues=[])
        await _found(repository, of(key=["task:1"]), key="task:1")
        await _found(repository, [], key="task:")
        await _found(repository, of(outcome=["late", "failed"]), outcomes=["failed", "late"])
        await _found(repository, [], outcomes=[])
        within = [one for one in lines if NOW + 5 <= one.ended_at < NOW + 20]
        await _found(repository, within, since=NOW + 5, before=NOW + 20)
        both = [one for one in within if one.queue == "task" and one.key == "task:2" and one.outcome == "succeeded"]
        assert both
        question = {"queues": ["task"], "key": "task:2", "outcomes": ["succeeded"]}
        await _found(repository, both, since=NOW + 5, before=NOW + 20, **question)

    async def test_runs_by_their_text(self, repository: Repository) -> None:
        """Those whose text contains it literally: it is not a pattern, and case counts."""
        if not await _keeps(self, repository):
            return
        texts = ["50% off", "500 off", "a_b", "aXb", "a*b", "a?b", "[ab]", "a\\b", "it's", "Ünï \U0001f600", "ÜNÏ", ""]
        lines = [
            replace(one, text=f"before {text} after{' ' * 500}, long after {number}")
            for number, (one, text) in enumerate(zip(lines_of_many(range(12)), texts, strict=True))
        ]
        await _log(repository, lines)
        for text in texts:
            await _found(repository, [one for one in lines if text in one.text], containing=text)
        await _found(repository, lines[7:8], containing="long after 7")
        await _found(repository, [], containing="absent")
        await _found(repository, [], containing="BEFORE")

    async def test_every_value_of_a_run_comes_back(self, repository: Repository) -> None:
        """Whatever it is: names of any characters, the longest key, long texts, early and late moments."""
        if not await _keeps(self, repository):
            return
        lines = [
            line(0, queue="\u00e9 \U0001f600'\"", key="\u0301 %", outcome="", text=""),
            line(1, key="task:" + "k" * 1019, text="\u00e9\U0010ffff\n\\u0000'" * 300),
            line(2, queue=":control", key=":control", outcome="o" * 50, text='{"v": 1}', ended_at=0),
            line(3, ended_at=-1),
            line(4, ended_at=2**53),
        ]
        await _log(repository, lines)
        await _found(repository, lines)

    async def test_runs_are_seen_by_others(self, clients: list[Repository]) -> None:
        """Once it was acknowledged, a line is seen by all clients, and outlives its record."""
        if not await _keeps(self, clients[0]):
            return
        one = record()
        assert await clients[0].swap([Change(None, one, line(0))]) == [APPLIED]
        assert await clients[-1].swap([Change(one, None, line(1))]) == [APPLIED]
        for client in clients:
            await _found(client, [line(0), line(1)])

    async def test_prune_runs(self, repository: Repository) -> None:
        """The oldest go first, no more than requested, and none from the given moment on; records stay."""
        if not await _keeps(self, repository):
            return
        lines = lines_of_many(range(30))
        one = record()
        await insert(repository, [one])
        await _log(repository, lines)
        before = NOW + 20
        assert await repository.prune_runs(before=before, limit=0) == 0
        for count, left in ((8, 22), (8, 14), (4, 10), (0, 10)):
            assert await repository.prune_runs(before=before, limit=8) == count
            await _found(repository, lines[30 - left :])
        assert await stored(repository, [one]) == [one]

    async def test_race_of_runs(self, clients: list[Repository]) -> None:
        """Clients that settle the same records: each record has one line, that of the client that won."""
        if not await _keeps(self, clients[0]):
            return
        records = numbered(40)
        await insert(clients[0], records)
        swaps: dict[int, list[Swap]] = {}

        async def settle(place: int, client: Repository) -> None:
            changes = [_settled(one, number, f"client {place}") for number, one in enumerate(records)]
            swaps[place] = await client.swap(changes)

        async with anyio.create_task_group() as tasks:
            for place, client in enumerate(clients):
                tasks.start_soon(settle, place, client)
        expected = [
            line(number, key=one.key, text=f"client {place}")
            for place, found in swaps.items()
            for number, (one, swap) in enumerate(zip(records, found, strict=True))
            if swap
        ]
        await _found(clients[0], expected)
        after = await stored(clients[0], records)
        won = {one.key: one.text for one in expected}
        assert [one and one.state for one in after] == [won.get(one.key, "") for one in records]


async def _keeps(suite: ContractBase, repository: Repository) -> bool:
    """Whether there is a log, according to store and suite. Checks the behavior if there is none."""
    assert repository.keeps_runs == suite.capabilities.keeps_runs
    if not repository.keeps_runs:
        one = record("without", "log")
        assert await repository.swap([Change(None, one, line(queue=one.queue, key=one.key))]) == [APPLIED]
        assert await repository.read([one.ref]) == [one]
        for call in (repository.runs(RunQuestion(limit=1)), repository.prune_runs(before=NOW, limit=1)):
            with pytest.raises(RepositoryException):
                await call
        suite.leaves_out("the log of runs: the store has none (keeps_runs)")
    return repository.keeps_runs


async def _log(repository: Repository, lines: Sequence[RunLine]) -> None:
    """Append lines, each with a change of its record, which is created, changed once per further line, and deleted."""
    last: dict[str, Record] = {}
    left = list(lines)
    while left:
        batch = {one.key: one for one in reversed(left)}
        left = [one for one in left if batch[one.key] is not one]
        changes = [Change(last.get(key), record(one.queue, key=key), one) for key, one in batch.items()]
        assert_same(await repository.swap(changes), [APPLIED] * len(changes))
        last |= {key: change.new for key, change in zip(batch, changes, strict=True) if change.new}
    assert applied(await repository.swap([Change(one, None) for one in last.values()]))


async def _found(repository: Repository, expected: Sequence[RunLine], **question: Any) -> None:
    """Assert that these lines are found, in one page and in several."""
    for limit in (1000, 3):
        found: list[RunLine] = []
        while True:
            last = (found[-1].ended_at, found[-1].id) if found else None
            more = await repository.runs(RunQuestion(**question, after=last, limit=limit))
            found += more
            assert len(more) <= limit
            assert len({one.id for one in found}) == len(found)
            if len(more) < limit:
                break
        assert [one.ended_at for one in found] == sorted((one.ended_at for one in found), reverse=True)
        assert_same(newest_first(found), newest_first(expected))


def _settled(one: Record, number: int, who: str) -> Change:
    return Change(one, replace(one, revision=fresh(), state=who), line(number, key=one.key, text=who))


def _every_other_fails(present: Sequence[Record], absent: Sequence[Record]) -> tuple[list[Change], list[Swap]]:
    """Changes of every kind, each with a line. Every other one can't be applied."""
    changes: list[Change] = []
    for number, (one, none) in enumerate(zip(present, absent, strict=True)):
        stale = replace(one, revision=fresh())
        new = replace(one, revision=fresh(), spec="new" if number % 2 else one.spec)
        good = (Change(one, new), Change(one, None))[number % 3 == 0]
        bad = (Change(none, replace(none, revision=fresh())), Change(none, None))[number % 2]
        late = Change(stale, new) if number % 5 else Change(None, stale)
        changes += [replace(bad, run=line(2 * number, queue=none.queue, key=none.key))]
        changes += [replace(late if number % 4 == 1 else good, run=line(2 * number + 1, queue=one.queue, key=one.key))]
    return changes, [APPLIED if n % 2 and n // 2 % 4 != 1 else CONFLICT for n in range(len(changes))]
