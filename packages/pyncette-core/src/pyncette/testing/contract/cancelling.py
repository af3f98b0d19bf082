"""Cancellation at every point: a call is carried out or not, per record, and the repository works on."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from pyncette import lease
from pyncette.record import Change, Record
from pyncette.repository import Repository
from pyncette.testing.faults import at_checkpoint

from .base import MINUTE, NOW, TASK, ContractBase, Factory, fresh, insert, numbered, record, stored, want

PATIENCE = 30
ROUNDS = 25


async def cancelled_at(checkpoint: int, call: Callable[[], Coroutine[Any, Any, object]]) -> bool:
    """Cancel the call when it waits for the n-th time. False if it ended before."""
    reached = False

    def cancel() -> None:
        nonlocal reached
        reached = True
        scope.cancel()

    with anyio.fail_after(PATIENCE), anyio.CancelScope() as scope:
        await at_checkpoint(checkpoint, cancel, call())
    return reached


async def cancel_everywhere(call: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Cancel the call at each of its checkpoints in turn, and let it finish at last."""
    checkpoint = 1
    while await cancelled_at(checkpoint, call) and checkpoint < 100:
        checkpoint += 1


async def settled(repository: Repository, records: list[Record]) -> list[Record | None]:
    """What is stored once nothing changes any more: a cancelled request may still be under way."""
    before = await stored(repository, records)
    while True:
        await anyio.sleep(0.02)
        now = await stored(repository, records)
        if now == before:
            return now
        before = now


class CancellationContract(ContractBase):
    async def test_cancelled_reads(self, repository: Repository) -> None:
        """Every method that reads can be cancelled at any point, and works when it is called again."""
        records = numbered(30)
        await insert(repository, records)
        for call in (
            lambda: repository.read([one.ref for one in records]),
            lambda: repository.due(want(TASK), now=NOW, limit=100),
            lambda: repository.scan(TASK, after=None, limit=100),
            lambda: repository.next_ready([TASK]),
            repository.clock,
        ):
            await cancel_everywhere(call)
        assert await stored(repository, records) == records

    async def test_cancelled_swap(self, repository: Repository) -> None:
        """Of a cancelled swap each change took place or not, and the next one works."""
        records: list[Record | None] = [*numbered(20)]
        await insert(repository, [one for one in records if one])

        for checkpoint in range(1, 100):
            changes = [
                Change(one, record(name=f"{number:05}", attempt=checkpoint)) for number, one in enumerate(records)
            ]
            reached = await cancelled_at(checkpoint, lambda changes=changes: repository.swap(changes))  # type: ignore[misc]  # mypy can't infer a default's type
            found = await settled(repository, [change.new for change in changes if change.new])
            for change, now in zip(changes, found, strict=True):
                assert now in (change.old, change.new)
            records = found
            if not reached:
                assert found == [change.new for change in changes]
                break

    async def test_cancelled_claim(self, repository: Repository) -> None:
        """A record of a cancelled claim is leased whole, or not at all; the next claim takes what is left."""
        records = numbered(20)
        await insert(repository, records)
        for checkpoint in range(1, 100):
            token = fresh()
            reached = await cancelled_at(
                checkpoint,
                lambda token=token: repository.claim(want(TASK), now=NOW, limit=20, token=token, holder=token),  # type: ignore[misc]  # mypy can't infer a default's type
            )
            found = [one for one in await settled(repository, records) if one]
            for before, now in zip(records, found, strict=True):
                leased = lease.claim(before, now=NOW, locked_until=NOW + MINUTE, token=token, holder=token)
                assert now in (before, leased)
            back = [lease.retry(one, at=NOW, revision=fresh()) for one in found]
            assert all(await repository.swap(back))
            records = [change.new for change in back if change.new]
            if not reached:
                break
        await self.take(repository, want(TASK), expect=20)

    async def test_cancelled_calls_leave_nothing_behind(self, repository: Repository) -> None:
        """Calls that are cancelled after a moment, many at once and again and again, leave no connection, lock or
        transaction behind: afterwards as many calls at once succeed."""
        chance = random.Random(0)
        records = numbered(24)
        await insert(repository, records)

        async def cancelled(one: Record) -> None:
            with anyio.move_on_after(chance.random() * 0.01):
                await repository.swap([Change(one, one)])
                await repository.claim(want(TASK, limit=2), now=0, limit=2, token=fresh(), holder=fresh())
                await repository.due(want(TASK), now=NOW, limit=3)
                await repository.read([one.ref])

        async def works(one: Record) -> None:
            assert await repository.read([one.ref]) == [one]
            assert await repository.swap([Change(one, None)]) == [True]

        with anyio.fail_after(2 * PATIENCE):
            for body, rounds in ((cancelled, ROUNDS), (works, 1)):
                for _ in range(rounds):
                    async with anyio.create_task_group() as tasks:
                        for one in records:
                            tasks.start_soon(body, one)
        assert await stored(repository, records) == [None] * len(records)

    async def test_cancelled_client(self, repository: Repository, repository_factory: Factory) -> None:
        """A client that is cancelled in the middle of its work closes, and others work on."""
        one = record()
        await insert(repository, [one])
        if not self.capabilities.shared:
            return
        for pause in (0, 0.001, 0.02):
            with anyio.fail_after(PATIENCE), anyio.move_on_after(pause):
                async with repository_factory() as client:
                    while True:
                        await client.swap([Change(one, one)])
                        await anyio.lowlevel.checkpoint()
        assert await repository.swap([Change(one, None)]) == [True]
