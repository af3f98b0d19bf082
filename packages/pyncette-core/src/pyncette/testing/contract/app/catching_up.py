"""Lets virtual time wait for an index that lags behind in real time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from pyncette.record import Change, Queue, QueueClaim, Record, Ref, Swap
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

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        swaps = await super().swap(changes)
        await self._shown([change.ref for change, swap in zip(changes, swaps, strict=True) if swap is Swap.APPLIED])
        return swaps

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        taken = await super().claim(claims, now=now, limit=limit, token=token, holder=holder)
        await self._shown([one.ref for one in taken])
        return taken

    async def _shown(self, refs: Sequence[Ref]) -> None:
        """Return when the index shows at these places what is stored there, whoever wrote it."""
        queues = {ref.queue: Queue(ref.queue, ref.static) for ref in refs}
        with anyio.move_on_after(self._lag):
            while True:
                found: dict[str, Record] = {}
                for queue in queues.values():
                    found |= {one.key: one for one in await self.scan_ready(queue, before=2**63 - 1, limit=MANY)}
                stored = await self.read(refs)
                if [found.get(ref.key) for ref in refs] == stored:
                    return
                await anyio.sleep(0.005)


def catching_up(factory: Factory, lag: float) -> Factory:
    @asynccontextmanager
    async def open_it() -> AsyncIterator[Repository]:
        async with factory() as repository:
            yield CaughtUpRepository(repository, lag)

    return open_it
