"""Lets virtual time wait for an index that lags behind in real time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from pyncette.record import Change, Queue, QueueClaim, Record, Ref, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import Factory
from pyncette.testing.faults import FaultyRepository

MANY = 10_000
MAX_PLACES = 10
"""How many records of a batch are checked individually. By the end of a large one, its first changes have shown up."""


class CaughtUpRepository(FaultyRepository):
    """Returns from a write only when the index shows it. Otherwise virtual time, in which days pass during a single
    write, would overtake the index."""

    def __init__(self, repository: Repository, lag: float) -> None:
        super().__init__(repository)
        self._lag = lag

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        swaps = await super().swap(changes)
        done = [change for change, swap in zip(changes, swaps, strict=True) if swap is Swap.APPLIED]
        moved = [change.old for change in done if change.old and not _stays(change.old, change.new)]
        await self._shown([change.ref for change in done], moved)
        return swaps

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        taken = await super().claim(claims, now=now, limit=limit, token=token, holder=holder)
        await self._shown([one.ref for one in taken], taken)
        return taken

    async def _shown(self, refs: Sequence[Ref], moved: Sequence[Record]) -> None:
        """Return when the index shows the stored records at these places, and no longer at their old places.

        An index that contains only keys finds a record at its old place, and returns it as it is now. Only a count of
        the old place reveals that.
        """
        queues = {ref.queue: Queue(ref.queue, ref.static) for ref in refs}
        places = sorted({(one.queue, one.ready_at) for one in moved})[:MAX_PLACES]
        with anyio.move_on_after(self._lag):
            while True:
                found: dict[str, Record] = {}

                async def look(queue: Queue, found: dict[str, Record] = found) -> None:
                    found.update({one.key: one for one in await self.scan_ready(queue, before=2**63 - 1, limit=MANY)})

                async with anyio.create_task_group() as looks:  # a batch may concern dozens of queues
                    for queue in queues.values():
                        looks.start_soon(look, queue)
                stored = await self.read(refs)
                if [found.get(ref.key) for ref in refs] == stored:
                    there = Counter((one.queue, one.ready_at) for one in found.values())
                    places = [place for place in places if await self._counted(queues, *place) > there[place]]
                    if not places:
                        return
                await anyio.sleep(0.005)

    async def _counted(self, queues: Mapping[str, Queue], queue: str, ready_at: int) -> int:
        return (await self.count(queues[queue], since=ready_at, before=ready_at + 1)).value


def _stays(old: Record, new: Record | None) -> bool:
    return new is not None and old.ready_at == new.ready_at


def catching_up(factory: Factory, lag: float) -> Factory:
    @asynccontextmanager
    async def open_it() -> AsyncIterator[Repository]:
        async with factory() as repository:
            yield CaughtUpRepository(repository, lag)

    return open_it
