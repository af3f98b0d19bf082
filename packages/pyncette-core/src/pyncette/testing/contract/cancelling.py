"""Cancellation at every point: a call is carried out or not, per record, and the repository works on."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import anyio

from pyncette import lease
from pyncette.record import HELD, Change, Record
from pyncette.repository import Repository
from pyncette.testing.faults import METHODS, at_checkpoint

from .base import (
    APPLIED,
    MINUTE,
    NOW,
    TASK,
    ContractBase,
    Factory,
    applied,
    fresh,
    insert,
    numbered,
    record,
    stored,
    swapped,
    want,
)
from .deadline import within

_T = TypeVar("_T")
AnyCall = Callable[[], Coroutine[Any, Any, object]]

CROWD = 24
"""The number of concurrent calls: more than a connection pool's default size."""
MAX_CHECKPOINTS = 100


async def cancelled_at(checkpoint: int, call: AnyCall) -> bool:
    """Cancel the call when it waits for the n-th time. Returns False if it ended earlier."""
    reached = False

    def cancel() -> None:
        nonlocal reached
        reached = True
        scope.cancel()

    with anyio.CancelScope() as scope:
        await at_checkpoint(checkpoint, cancel, call())
    return reached


async def cut_short(seconds: float, call: AnyCall) -> None:
    with anyio.move_on_after(seconds):
        await call()


async def settled(repository: Repository, records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """The stored records, and their replacements: held, with new revisions, so that a cancelled request that is still
    being executed finds nothing to change or to claim."""
    found: dict[str, Record] = {}
    now: dict[str, Record] = {}
    while left := [one for one in records if one.key not in now]:
        there = [one for one in await stored(repository, left) if one is not None]
        assert len(there) == len(left), "what was only changed is gone"
        copies = [replace(one, revision=fresh(), ready_at=HELD) for one in there]
        swaps = await swapped(repository, [Change(old, new) for old, new in zip(there, copies, strict=True)])
        for old, new, swap in zip(there, copies, swaps, strict=True):
            if swap is APPLIED:
                found[old.key], now[old.key] = old, new
    return [found[one.key] for one in records], [now[one.key] for one in records]


class CancellationContract(ContractBase):
    async def test_cancelled_swap(self, repository: Repository) -> None:
        """Each change of a cancelled swap took place or didn't, and the next swap works."""
        records = numbered(20)
        await insert(repository, records)

        for checkpoint in range(1, MAX_CHECKPOINTS):
            changes = [
                Change(one, record(name=f"{number:05}", attempt=checkpoint)) for number, one in enumerate(records)
            ]
            reached = await cancelled_at(checkpoint, functools.partial(repository.swap, changes))
            found, records = await settled(repository, records)
            for change, now in zip(changes, found, strict=True):
                assert now in (change.old, change.new)
            if not reached:
                assert found == [change.new for change in changes]
                break

    async def test_cancelled_claim(self, repository: Repository) -> None:
        """A record of a cancelled claim is leased completely or not at all; the next claim takes what is left."""
        records = numbered(20)
        await insert(repository, records)
        now = NOW
        for checkpoint in range(1, MAX_CHECKPOINTS):
            token, until = fresh(), now + MINUTE
            claims = want(TASK, locked_until=until)
            claim = functools.partial(repository.claim, claims, now=now, limit=20, token=token, holder=token)
            reached = await cancelled_at(checkpoint, claim)
            found, current = await settled(repository, records)
            for before, after in zip(records, found, strict=True):
                leased = lease.claim(before, now=now, locked_until=until, token=token, holder=token)
                assert after in (before, leased)
            now += MINUTE  # a claim that is still being executed must find nothing ready
            back = [lease.retry(one, at=now, revision=fresh()) for one in current]
            assert applied(await swapped(repository, back))
            records = [change.new for change in back if change.new]
            if not reached:
                break
        await self.take(repository, want(TASK, locked_until=now + MINUTE), expect=20, now=now)

    async def test_cancelled_calls_leave_nothing_behind(self, repository: Repository) -> None:
        """Many calls at once, all cancelled at the same checkpoint, for every method and every checkpoint, leave no
        connection, lock or transaction behind: afterwards as many calls at once succeed.
        """
        records = numbered(CROWD)
        await insert(repository, records)
        for name in METHODS:
            for checkpoint in range(1, MAX_CHECKPOINTS):
                calls = await _calls(name, repository, records)
                reached = await _all_at_once(
                    [functools.partial(cancelled_at, checkpoint, c) for c in calls], self.deadlock_after
                )
                if not any(reached):
                    break
        _, current = await settled(repository, records)
        changes = [Change(one, None) for one in current]
        outcomes = await _all_at_once(
            [functools.partial(swapped, repository, [one]) for one in changes], self.deadlock_after
        )
        assert outcomes == [[APPLIED]] * CROWD

    async def test_calls_cancelled_after_a_moment(self, repository: Repository) -> None:
        """The same with cancellations at any time, not only when the call starts to wait."""
        chance = random.Random(0)
        records = numbered(CROWD)
        await insert(repository, records)
        for _ in range(5):
            for name in ("swap", "claim", "read"):
                calls = await _calls(name, repository, records)
                await _all_at_once(
                    [functools.partial(cut_short, chance.random() * 0.01, c) for c in calls], self.deadlock_after
                )
        _, current = await settled(repository, records)
        again = [functools.partial(repository.read, [one.ref]) for one in records]
        assert await _all_at_once(again, self.deadlock_after) == [[one] for one in current]

    async def test_cancelled_client(self, repository: Repository, repository_factory: Factory) -> None:
        """A client that is cancelled in the middle of its work closes, and others keep working."""
        one = record()
        await insert(repository, [one])
        for pause in (0, 0.001, 0.02):
            with anyio.fail_after(self.deadlock_after), anyio.move_on_after(pause):
                async with repository_factory() as client:
                    while True:
                        await client.swap([Change(None, record("scratch", fresh()))])
                        await anyio.lowlevel.checkpoint()
        assert await swapped(repository, [Change(one, None)]) == [APPLIED]


async def _calls(name: str, repository: Repository, records: list[Record]) -> list[AnyCall]:
    """A call of the method for each record. Those of ``swap`` and ``claim`` compete for one of the records."""
    (hot,) = await repository.read([records[0].ref])
    assert hot is not None
    calls: dict[str, Callable[[Record], AnyCall]] = {
        "swap": lambda _: functools.partial(
            repository.swap,
            [Change(hot, replace(hot, revision=fresh())), Change(None, record("scratch", fresh()))],
        ),
        "claim": lambda _: functools.partial(
            repository.claim, want(TASK, locked_until=NOW), now=NOW, limit=2, token=fresh(), holder=fresh()
        ),
        "read": lambda one: functools.partial(repository.read, [one.ref]),
        "scan_ready": lambda _: functools.partial(repository.scan_ready, TASK, limit=5),
        "queues": lambda _: functools.partial(repository.queues, after=None, limit=5),
        "count": lambda _: functools.partial(repository.count, TASK, limit=5),
        "scan": lambda one: functools.partial(repository.scan, TASK, after=one.key, limit=5),
        "look": lambda one: functools.partial(repository.look, [TASK], [one.ref]),
        "clock": lambda _: repository.clock,
    }
    return [calls[name](one) for one in records]


async def _all_at_once(calls: Sequence[Callable[[], Coroutine[Any, Any, _T]]], deadlock_after: float) -> list[_T]:
    results: dict[int, _T] = {}

    async def one(number: int) -> None:
        results[number] = await calls[number]()

    async def everyone() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(len(calls)):
                tasks.start_soon(one, number)

    await within(deadlock_after, "Calls at once", everyone)
    return [results[number] for number in range(len(calls))]
