"""The index by time. It may lag behind the table for moments, so its entries are hints that each write verifies."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from pyncette.record import HELD, LEAST, Queue, QueueClaim

from .codec import INDEX, NO_REVISION, Entry, Item, Layout, moment, number, text
from .connection import Database, together

MOST_OUTDATED = 20_000
"""How many outdated revisions are remembered: more than there are writes while the index catches up."""

_FEW = 25
"""The number of entries that cost no more to read than one."""


class Outdated:
    """Revisions that this process knows to be no longer current, though the index may still show them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], None] = {}  # in the order in which they came

    def add(self, key: str, revision: str) -> None:
        if revision == NO_REVISION:
            return  # it can't distinguish the states of a damaged record
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

    async def within(
        self, place: str, *, since: int, before: int, limit: int | None = None, start: Item | None = None
    ) -> tuple[list[Entry], Item | None]:
        """A page of the entries at a place in a range of time, earliest first, and the start of the next page."""
        if since >= before:
            return [], None
        answer = await self._query(place, since, before, limit, start)
        entries = [self._layout.entry(item) for item in answer["Items"]]
        return [entry for entry in entries if entry not in self.outdated], answer.get("LastEvaluatedKey")

    async def page(
        self, queue: str, *, since: int, before: int, after: tuple[int, str] | None, limit: int
    ) -> tuple[list[Entry], bool]:
        """The next entries of a dynamic queue after ``after``, in the order of time and key, and whether there may be
        more. The index doesn't order entries with the same time, so these are read together."""
        behind = (since, "") if after is None else after
        start = max(since, behind[0])
        read = [partial(self._next, place, start, before, behind, limit) for place in self._layout.places(queue)]
        places = await together(read)
        entries = sorted((entry for found, _ in places for entry in found), key=_order)
        return entries[:limit], len(entries) > limit or any(more for _, more in places)

    async def _next(
        self, place: str, since: int, before: int, behind: tuple[int, str], limit: int
    ) -> tuple[list[Entry], bool]:
        found: list[Entry] = []
        start: Item | None = None
        while True:
            more, start = await self.within(place, since=since, before=before, limit=limit + _FEW, start=start)
            found += more
            wanted = sorted((entry for entry in found if _order(entry) > behind), key=_order)
            complete = len(wanted) >= limit and found[-1].ready_at > wanted[limit - 1].ready_at
            if start is None or complete:
                return wanted[:limit], start is not None or len(wanted) > limit

    async def count(self, place: str, *, since: int, before: int, most: int) -> int:
        """How many entries there are, at most ``most``."""
        found, start = 0, None
        while since < before:
            answer = await self._query(place, since, before, most - found, start, Select="COUNT")
            found += answer["Count"]
            start = answer.get("LastEvaluatedKey")
            if start is None or found >= most:
                break
        return found

    async def next_ready(
        self, queues: Sequence[Queue], *, after: int | None, until: int, most: int
    ) -> tuple[int | None, dict[str, list[int]]]:
        """The earliest time of the records of these queues that are not held (and, if given, after ``after``); and for
        each queue its times up to ``until``, at most ``most``."""
        since = LEAST if after is None else after + 1
        static = {queue.name for queue in queues if queue.static}
        places = [
            (place, queue.name) for queue in queues if not queue.static for place in self._layout.places(queue.name)
        ]
        requests = [partial(self._first, place, since, until, most, name=name) for place, name in places]
        if static:
            requests.append(partial(self._first, self._layout.static, since, until, HELD, among=static))
        found = [entry for entries in await together(requests) for entry in entries]
        found.sort(key=lambda entry: entry[1])
        moments: dict[str, list[int]] = {}
        for queue, time in found:
            if time <= until and len(moments.get(queue, ())) < most:
                moments.setdefault(queue, []).append(time)
        return (found[0][1] if found else None), moments

    async def _first(
        self, place: str, since: int, until: int, most: int, *, name: str = "", among: Collection[str] | None = None
    ) -> list[tuple[str, int]]:
        """Queues and times at a place: those up to ``until``, at most ``most``, and the first one if all are later.

        :param name: the name of the queue.
        :param among: static queues, each of which is one record at this place; there may be others between them.
        """
        found: list[tuple[str, int]] = []
        limit: int | None = 1 if among is None and most == 1 else _FEW
        start: Item | None = None
        while since < HELD:
            answer = await self._query(place, since, HELD, limit, start)
            for item in answer["Items"]:
                queue, time = (item["sk"]["S"] if among is not None else name), moment(item["ready_at"])
                if among is not None and queue not in among:
                    continue
                if time > until or len(found) >= most:
                    return found or [(queue, time)]
                found.append((queue, time))
            start, limit = answer.get("LastEvaluatedKey"), None if among is not None else most - len(found)
            if start is None or len(found) >= most:
                break
        return found

    async def _query(
        self, place: str, since: int, before: int, limit: int | None, start: Item | None, **parameters: Any
    ) -> dict[str, Any]:
        if limit is not None:
            parameters["Limit"] = limit
        if start is not None:
            parameters["ExclusiveStartKey"] = start
        condition = "pk = :place AND ready_at <= :last"
        values = {":place": text(place), ":last": number(before - 1)}
        if since > LEAST:  # without a lower bound, so that damaged values below it are found as well
            condition = "pk = :place AND ready_at BETWEEN :first AND :last"
            values[":first"] = number(since)
        return await self._database.ask(
            "query",
            TableName=self._database.table,
            IndexName=INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            **parameters,
        )


def _order(entry: Entry) -> tuple[int, str]:
    return entry.ready_at, entry.ref.key


class Supply:
    """The candidates for the claims of a call, taken from the index piece by piece, earliest first.

    Claims are identified by their positions, as several may be of the same queue, for different windows of time.
    """

    def __init__(self, index: Index, layout: Layout, claims: Sequence[QueueClaim], *, now: int) -> None:
        self._dynamic: dict[int, _Merged] = {}
        self._windows: dict[int, QueueClaim] = {}
        for place, claim in enumerate(claims):
            before = min(claim.before, now + 1)
            if claim.queue.static:
                self._windows[place] = claim
            else:
                pages = [_Pages(index, one, claim.since, before) for one in layout.places(claim.queue.name)]
                self._dynamic[place] = _Merged(pages)
        self._static_pages = _Pages(index, layout.static, LEAST, now + 1)
        self._static: dict[str, Entry] | None = None

    async def take(self, counts: Mapping[int, int], *, spread: int = 1) -> dict[int, list[Entry]]:
        """The next entries for each claim, up to the number asked for.

        :param spread: take them at random from this many times as many, so that several processes don't all try the
            same ones.
        """
        places = [place for place, count in counts.items() if count > 0 and place in self._dynamic]
        work = [partial(self._dynamic[place].take, counts[place], spread) for place in places]
        if self._static is None and any(count > 0 and place in self._windows for place, count in counts.items()):
            work.append(partial(self._load_static))
        found: dict[int, list[Entry]] = dict(zip(places, await together(work), strict=False))
        for place in counts.keys() & self._windows.keys():
            entry = self._static_entry(self._windows[place]) if counts[place] > 0 else None
            found[place] = [] if entry is None else [entry]
        return found

    def _static_entry(self, claim: QueueClaim) -> Entry | None:
        entry = (self._static or {}).get(claim.queue.name)
        if entry is None or not claim.since <= entry.ready_at < claim.before:
            return None
        return (self._static or {}).pop(claim.queue.name)

    def put_back(self, place: int, entries: Sequence[Entry]) -> None:
        """Return entries that were taken but not tried."""
        if place in self._dynamic:
            self._dynamic[place].put_back(entries)
        elif self._static is not None:
            self._static.update((entry.ref.key, entry) for entry in entries)

    async def _load_static(self) -> list[Entry]:
        """All static tasks are at one place but in separate queues, so the entries of all that are ready are needed."""
        found: dict[str, Entry] = {}
        while not self._static_pages.exhausted:
            await self._static_pages.fetch(None)
            found.update((entry.ref.key, entry) for entry in self._static_pages.entries)
            self._static_pages.entries.clear()
        names = {claim.queue.name for claim in self._windows.values()}
        self._static = {key: entry for key, entry in found.items() if key in names}
        return []


class _Pages:
    """The ready entries of one place, page by page."""

    def __init__(self, index: Index, place: str, since: int, before: int) -> None:
        self._index = index
        self._place = place
        self._since = since
        self._before = before
        self._start: Item | None = None
        self.entries: deque[Entry] = deque()
        self.exhausted = False

    async def fetch(self, limit: int | None) -> None:
        more, self._start = await self._index.within(
            self._place, since=self._since, before=self._before, limit=limit, start=self._start
        )
        self.entries.extend(more)
        self.exhausted = self._start is None


class _Merged:
    """The ready entries of one queue, merged from its places."""

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
            to_fetch = [place for place in self._places if not place.entries and not place.exhausted]
            if to_fetch:
                await together(partial(place.fetch, page) for place in to_fetch)
                continue
            first = min((place.entries for place in self._places if place.entries), key=_moment, default=None)
            if first is None:
                return
            found.append(first.popleft())


def _moment(entries: Sequence[Entry]) -> tuple[int, str]:
    return entries[0].ready_at, entries[0].ref.key
