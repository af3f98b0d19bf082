"""The index by time. It may lag behind the table by moments: what it says is a hint, and each write checks it."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pyncette.record import Queue

from .database import Database, together
from .layout import INDEX, Entry, Item, Layout, number, text

MOST_OUTDATED = 20_000
"""How many revisions are remembered as outdated: those of more writes than happen while the index catches up."""

_FEW = 25
"""Entries that cost as much to read as a single one."""


class Outdated:
    """Revisions that this process knows to be no longer current, though the index may still show them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], None] = {}  # in the order in which they came

    def add(self, key: str, revision: str) -> None:
        self._known[key, revision] = None
        if len(self._known) > MOST_OUTDATED:
            del self._known[next(iter(self._known))]

    def __contains__(self, entry: Entry) -> bool:
        return (entry.ref.key, entry.revision) in self._known


class Index:
    """Queries of the index."""

    def __init__(self, database: Database, layout: Layout) -> None:
        self._database = database
        self._layout = layout
        self.outdated: Outdated = Outdated()

    async def ready(
        self, place: str, *, now: int, limit: int | None = None, start: Item | None = None
    ) -> tuple[list[Entry], Item | None]:
        """A page of what is ready at a place, the earliest first, and where the next page starts, if there is one."""
        answer = await self._query(place, "ready_at <= :moment", now, limit, start)
        entries = [self._layout.entry(item) for item in answer["Items"]]
        return [entry for entry in entries if entry not in self.outdated], answer.get("LastEvaluatedKey")

    async def next_ready(self, queues: Sequence[Queue], *, after: int | None) -> int | None:
        """The earliest time of all records of these queues, of those greater than ``after`` if that is given."""
        static = {queue.name for queue in queues if queue.static}
        places = [place for queue in queues if not queue.static for place in self._layout.places(queue.name)]
        requests = [partial(self._first, place, after) for place in places]
        if static:
            requests.append(partial(self._first, self._layout.static, after, static))
        return min((time for time in await together(requests) if time is not None), default=None)

    async def _first(self, place: str, after: int | None, keys: set[str] | None = None) -> int | None:
        """The earliest time at a place, of one of ``keys`` if they are given: others' records may stand before it."""
        limit: int | None = 1 if keys is None else _FEW
        condition = "ready_at > :moment" if after is not None else None
        start: Item | None = None
        while True:
            answer = await self._query(place, condition, after, limit, start)
            for item in answer["Items"]:
                if keys is None or item["sk"]["S"] in keys:
                    return int(item["ready_at"]["N"])
            start, limit = answer.get("LastEvaluatedKey"), None
            if start is None:
                return None

    async def _query(
        self, place: str, condition: str | None, moment: int | None, limit: int | None, start: Item | None
    ) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "KeyConditionExpression": "pk = :place",
            "ExpressionAttributeValues": {":place": text(place)},
        }
        if condition is not None:
            parameters["KeyConditionExpression"] += f" AND {condition}"
            parameters["ExpressionAttributeValues"][":moment"] = number(moment)
        if limit is not None:
            parameters["Limit"] = limit
        if start is not None:
            parameters["ExclusiveStartKey"] = start
        return await self._database.ask("query", TableName=self._database.table, IndexName=INDEX, **parameters)


class Supply:
    """What is ready in some queues, taken from the index piece by piece, the earliest first."""

    def __init__(self, index: Index, layout: Layout, queues: Iterable[Queue], *, now: int) -> None:
        queues = list(queues)
        self._dynamic = {
            queue.name: _Merged([_Pages(index, place, now) for place in layout.places(queue.name)])
            for queue in queues
            if not queue.static
        }
        self._static_names = {queue.name for queue in queues if queue.static}
        self._static_pages = _Pages(index, layout.static, now)
        self._static: dict[str, Entry] | None = None

    async def take(self, counts: Mapping[str, int], *, spread: int = 1) -> dict[str, list[Entry]]:
        """For each queue its next entries, at most as many as asked for.

        :param spread: take them at random from so many times as many, so that several processes that do the same
            don't all try for the same ones.
        """
        names = [name for name, count in counts.items() if count > 0 and name in self._dynamic]
        work = [partial(self._dynamic[name].take, counts[name], spread) for name in names]
        if self._static is None and any(count > 0 and name in self._static_names for name, count in counts.items()):
            work.append(partial(self._load_static))
        found: dict[str, list[Entry]] = dict(zip(names, await together(work), strict=False))
        for name in counts.keys() & self._static_names:
            entry = (self._static or {}).pop(name, None) if counts[name] > 0 else None
            found[name] = [] if entry is None else [entry]
        return found

    def put_back(self, queue: str, entries: Sequence[Entry]) -> None:
        """Entries that were taken but not tried, to be given again."""
        if queue in self._dynamic:
            self._dynamic[queue].put_back(entries)
        elif self._static is not None:
            self._static.update((entry.ref.key, entry) for entry in entries)

    async def _load_static(self) -> list[Entry]:
        """All static tasks are at one place, and each is a queue of its own, so that it takes all that are ready."""
        found: dict[str, Entry] = {}
        while not self._static_pages.exhausted:
            await self._static_pages.fetch(None)
            found.update((entry.ref.key, entry) for entry in self._static_pages.entries)
            self._static_pages.entries.clear()
        self._static = {key: entry for key, entry in found.items() if key in self._static_names}
        return []


class _Pages:
    """What is ready at one place, page by page."""

    def __init__(self, index: Index, place: str, now: int) -> None:
        self._index = index
        self._place = place
        self._now = now
        self._start: Item | None = None
        self.entries: deque[Entry] = deque()
        self.exhausted = False

    async def fetch(self, limit: int | None) -> None:
        more, self._start = await self._index.ready(self._place, now=self._now, limit=limit, start=self._start)
        self.entries.extend(more)
        self.exhausted = self._start is None


class _Merged:
    """What is ready in one queue: its places put in one order."""

    def __init__(self, places: Sequence[_Pages]) -> None:
        self._places = places
        self._back: deque[Entry] = deque()

    async def take(self, count: int, spread: int) -> list[Entry]:
        found = [self._back.popleft() for _ in range(min(count * spread, len(self._back)))]
        await self._fill(found, count * spread)
        if len(found) <= count:
            return found
        chosen = set(random.sample(range(len(found)), count))
        self.put_back([entry for place, entry in enumerate(found) if place not in chosen])
        return [entry for place, entry in enumerate(found) if place in chosen]

    def put_back(self, entries: Sequence[Entry]) -> None:
        self._back.extendleft(reversed(entries))

    async def _fill(self, found: list[Entry], count: int) -> None:
        share = (count - len(found)) / len(self._places)
        page = min(count, math.ceil(share) + 2 * math.ceil(math.sqrt(share)) + 1)  # the hash spreads them evenly
        while len(found) < count:
            hungry = [place for place in self._places if not place.entries and not place.exhausted]
            if hungry:
                await together(partial(place.fetch, page) for place in hungry)
                continue
            first = min((place.entries for place in self._places if place.entries), key=_moment, default=None)
            if first is None:
                return
            found.append(first.popleft())


def _moment(entries: Sequence[Entry]) -> tuple[int, str]:
    return entries[0].ready_at, entries[0].ref.key
