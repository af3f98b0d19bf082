"""Lets virtual time wait for an index that lags behind in real time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from pyncette.record import NEVER, Change, Queue, QueueClaim, Record, Ref
from pyncette.repository import Repository
from pyncette.testing.contract.base import Factory
from pyncette.testing.faults import FaultyRepository

MANY = 10_000


class CaughtUpRepository(FaultyRepository):
    """Returns from a write when the index shows it. Virtual time would overtake the index otherwise: days of it pass
    while a single write is on its way."""

    def __init__(self, repository: Repository, lag: float) -> None:
        super().__init__(repository)
        self._lag = lag

    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        applied = await super().swap(changes)
        await self._shown([change.ref for change, ok in zip(changes, applied, strict=True) if ok])
        return applied

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        taken = await super().claim(claims, now=now, limit=limit, token=token, holder=holder)
        await self._shown([one.ref for one in taken])
        return taken

    async def _shown(self, refs: Sequence[Ref]) -> None:
        """Return when the index shows at these places what is stored there, whoever wrote it."""
        queues = {ref.queue: Queue(ref.queue, ref.static) for ref in refs}
        claims = [QueueClaim(queue, MANY, 0) for queue in queues.values()]
        with anyio.move_on_after(self._lag):
            while True:
                found = {one.key: one for one in await self.due(claims, now=NEVER - 1, limit=MANY)}
                stored = [one if one and one.ready_at != NEVER else None for one in await self.read(refs)]
                if [found.get(ref.key) for ref in refs] == stored:
                    return
                await anyio.sleep(0.005)


def catching_up(factory: Factory, lag: float) -> Factory:
    @asynccontextmanager
    async def open_it() -> AsyncIterator[Repository]:
        async with factory() as repository:
            yield CaughtUpRepository(repository, lag)

    return open_it
