"""Random histories, compared step by step with the in-memory repository."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st

from pyncette.memory import MemoryRepository
from pyncette.record import GRAIN, Band, Change, Queue, QueueClaim, Record, Ref
from pyncette.repository import Repository

from .base import MINUTE, NOW, SECOND, ContractBase, all_of, applied, claimed, fresh, next_ready, ready, wipe

QUEUES = (Queue("task"), Queue("Task"), Queue("t\u00e4sk"), Queue("static", static=True), Queue("Static", static=True))
REFS = tuple(
    Ref(queue.name, queue.name if queue.static else f"{queue.name}:{name}")
    for queue in QUEUES
    for name in (("",) if queue.static else ("a", "A", "a ", "\u00e4"))
)


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a swap. ``known`` picks the revision that it is based on: the current one, an older one, none."""

    ref: Ref
    known: Literal["current", "outdated", "absent"]
    delete: bool
    moment: int | Band
    leased: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """A claim, or a look at the index and the records."""

    claim: bool
    queues: tuple[tuple[Queue, int], ...]
    limit: int
    moment: int


Step = Sequence[Write] | Ask

_moments = st.one_of(st.integers(-20, 20), st.sampled_from(Band))
_writes = st.lists(
    st.builds(
        Write,
        ref=st.sampled_from(REFS),
        known=st.sampled_from(["current", "current", "current", "outdated", "absent"]),
        delete=st.integers(0, 4).map(lambda number: number == 0),
        moment=_moments,
        leased=st.booleans(),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda write: write.ref,
)
_asks = st.builds(
    Ask,
    claim=st.booleans(),
    queues=st.lists(
        st.tuples(st.sampled_from(QUEUES), st.integers(0, 4)), max_size=len(QUEUES), unique_by=lambda pair: pair[0]
    ).map(tuple),
    limit=st.integers(1, 6),
    moment=st.integers(-20, 90),
)
histories: st.SearchStrategy[list[Step]] = st.lists(st.one_of(_writes, _writes, _asks), min_size=1, max_size=25)


class History:
    """Executes a history on both repositories and compares the results."""

    def __init__(self, suite: ContractBase, repository: Repository) -> None:
        self._suite = suite
        self._repository = repository
        self._model = MemoryRepository()
        self._earlier: dict[Ref, Record] = {}
        self._step = 0

    async def run(self, history: Sequence[Step]) -> None:
        try:
            for self._step, step in enumerate(history):
                if isinstance(step, Ask):
                    await (self._claim(step) if step.claim else self._look(step))
                else:
                    await self._swap(step)
            await self._compare_everything()
        finally:
            await wipe(self._repository, QUEUES)

    def _time(self, moment: int | Band, number: int = 0) -> int:
        """A different time for each write, so that there is only one right order."""
        place = self._step * 100 + number
        return moment.at(NOW + place * GRAIN) if isinstance(moment, Band) else NOW + moment * SECOND + place

    async def _swap(self, writes: Sequence[Write]) -> None:
        current = await self._model.read([write.ref for write in writes])
        changes = [
            self._change(write, number, stored)
            for number, (write, stored) in enumerate(zip(writes, current, strict=True))
        ]
        expected = await self._model.swap(changes)
        for stored in current:
            if stored is not None:
                self._earlier[stored.ref] = stored
        assert await self._repository.swap(changes) == expected

    def _change(self, write: Write, number: int, stored: Record | None) -> Change:
        moment = self._time(write.moment, number)
        new = Record(
            queue=write.ref.queue,
            key=write.ref.key,
            due_at=NOW,
            ready_at=moment,
            locked_until=moment if write.leased else None,
            locked_by=fresh() if write.leased else None,
            revision=fresh(),
            fence=self._step,
            attempt=number,
            spec=f"{self._step}",
            state=f"{number}" * write.leased,
        )
        old = {
            "current": stored,
            "outdated": self._earlier.get(write.ref, replace(new, revision=fresh())),
            "absent": None,
        }[write.known]
        return Change(old, None if write.delete and old is not None else new)

    def _claims(self, ask: Ask) -> list[QueueClaim]:
        return [QueueClaim(queue, limit, self._time(ask.moment) + MINUTE) for queue, limit in ask.queues]

    async def _look(self, ask: Ask) -> None:
        claims, now = self._claims(ask), self._time(ask.moment)
        queues = [queue for queue, _ in ask.queues]
        due = await ready(self._model, claims, now=now, limit=ask.limit)
        await self._suite.shows(lambda: ready(self._repository, claims, now=now, limit=ask.limit), due)
        for after in (now, None):
            expected = await next_ready(self._model, queues, after=after)
            await self._suite.shows(functools.partial(next_ready, self._repository, queues, after=after), expected)
            for limit in (1, 3):
                soon = functools.partial(_soon, queues, after=after, until=now + MINUTE, limit=limit)
                await self._suite.shows(functools.partial(soon, self._repository), await soon(self._model))
        for queue, band in zip(queues, Band, strict=False):
            held = await self._model.scan_ready(queue, since=band.since, before=band.before, limit=10)
            probe = functools.partial(
                self._repository.scan_ready, queue, since=band.since, before=band.before, limit=10
            )
            await self._suite.shows(probe, held)
        refs = [ref for ref in REFS if ref.queue in {queue.name for queue in queues}]
        assert await self._repository.read(refs) == await self._model.read(refs)

    async def _claim(self, ask: Ask) -> None:
        claims, now, token = self._claims(ask), self._time(ask.moment), fresh()
        due = await ready(self._model, claims, now=now, limit=ask.limit)
        await self._suite.shows(lambda: ready(self._repository, claims, now=now, limit=ask.limit), due)
        before = {one.key: one for one in due}
        found = await self._repository.claim(claims, now=now, limit=ask.limit, token=token, holder=token)
        assert found == [before[one.key] for one in found]
        taken = claimed(found, claims, now=now, token=token, holder=token)
        assert len({one.key for one in taken}) == len(taken)
        if self._suite.capabilities.immediate_index:
            assert {one.key for one in taken} == set(before)
        self._earlier.update({one.ref: before[one.key] for one in taken})
        assert applied(await self._model.swap([Change(before[one.key], one) for one in taken]))
        await self._set_apart(taken)

    async def _set_apart(self, taken: Sequence[Record]) -> None:
        """Give leases that end at the same moment different ends, because they may be found in any order."""
        ends = [one.ready_at + number for number, one in enumerate(taken)]
        changes = [
            Change(one, replace(one, ready_at=end, locked_until=end, revision=fresh()))
            for one, end in zip(taken, ends, strict=True)
        ]
        assert applied(await self._model.swap(changes))
        assert applied(await self._repository.swap(changes))

    async def _compare_everything(self) -> None:
        assert await self._repository.read(REFS) == await self._model.read(REFS)
        for queue in QUEUES:
            found, expected = await all_of(self._repository, queue, page=3), await all_of(self._model, queue)
            assert sorted(found, key=lambda one: one.key) == expected


async def _soon(
    queues: Sequence[Queue], repository: Repository, *, after: int | None, until: int, limit: int
) -> Mapping[str, Sequence[int]]:
    return (await repository.look(queues, (), after=after, until=until, limit=limit)).moments


class ModelContract(ContractBase):
    async def test_random_histories(self, repository: Repository) -> None:
        """Any history of swaps, claims and queries has the same outcome as in memory, step by step."""
        await self.for_all(
            histories,
            lambda history: History(self, repository).run(history),
            max_examples=2 * self.property_examples,
        )
