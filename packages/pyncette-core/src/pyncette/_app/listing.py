"""Lists instances page by page: by key, or by time, using the index that claims need anyway."""

from __future__ import annotations

import base64
import heapq
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import anyio.lowlevel

from pyncette import lease
from pyncette._concurrency.background import concurrently
from pyncette._leases.store import Store
from pyncette._leases.writer import MAX_BATCH
from pyncette._lifecycle.extra import schedule_side
from pyncette._tasks import names
from pyncette._tasks.control import Control
from pyncette._tasks.task import Task, check_task
from pyncette._validation.checks import is_index
from pyncette.clock import Clock
from pyncette.record import BAND_WIDTH, HELD, LEAST, Band, Count, Record

from .states import TaskState, describe

STATES_AT_ONCE = 25
"""How many records are decoded before yielding to the event loop: about half a millisecond."""

PARTITIONS_AT_ONCE = 8
"""How many partitions of a template are queried concurrently: about as many as there are connections."""

HeldState = Literal["dead", "paused", "completed", "unreadable"]
"""The states that can be listed and counted without reading other instances."""

BANDS: dict[str, Band] = {
    "dead": Band.DEAD,
    "paused": Band.PAUSED,
    "completed": Band.COMPLETED,
    "unreadable": Band.UNREADABLE,
}

END = HELD + len(Band) * BAND_WIDTH
"""Greater than every ``ready_at``."""

Place = tuple[int, str]
"""``ready_at`` and key of a record."""


@dataclass(frozen=True, slots=True)
class ListTasksResponse:
    """A page of instances.

    :ivar continuation_token: pass it to get the next page; None when there are no more.
    """

    tasks: list[TaskState]
    continuation_token: str | None


class Listing:
    """The lists of one app context."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def by_key(
        self, task: Task, control: Control, *, prefix: str, limit: int, token: str | None
    ) -> ListTasksResponse:
        """A page in key order, partition by partition."""
        queues = queues_of(task)
        at, after = _decoded_key(token, len(queues))
        found: list[tuple[Task, Record]] = []
        while at < len(queues) and len(found) < limit:
            parent, size = queues[at], min(limit - len(found), MAX_BATCH)
            keys = f"{parent.canonical_name}:{names.escape(prefix)}" if prefix else ""
            records = await self._store.scan(parent.queue, after=after, limit=size, prefix=keys)
            found += [(parent, record) for record in records]
            at, after = (at + 1, None) if len(records) < size else (at, records[-1].key)
        states = await self._states(found, control)
        return ListTasksResponse(states, None if at >= len(queues) else _encoded([at, after]))

    async def by_time(
        self, task: Task, control: Control, *, since: int, before: int, limit: int, token: str | None
    ) -> ListTasksResponse:
        """A page of the instances with ``since <= ready_at < before``, in order of ``ready_at`` across partitions."""
        queues = queues_of(task)
        places = _decoded_places(token, len(queues))
        waiting = await self._waiting_for_manual_runs(queues, control, since, before)
        ask = partial(self._store.scan_ready, since=since, before=before, limit=limit)
        found = await concurrently(
            [partial(ask, parent.queue, after=places.get(at)) for at, parent in enumerate(queues)],
            at_once=PARTITIONS_AT_ONCE,
        )
        pages = [[(record.ready_at, at, record) for record in page] for at, page in enumerate(found)]
        again = {record.key for page in found for record in page}  # their runs have ended since the first query
        waiting = [
            (ready_at, at, record)
            for ready_at, at, record in waiting
            if (ready_at, record.key) > places.get(at, (LEAST, "")) and record.key not in again
        ]
        merged = list(heapq.merge(*pages, waiting, key=_in_order))[:limit]
        for ready_at, at, record in merged:
            places[at] = (ready_at, record.key)
        states = await self._states([(queues[at], record) for _, at, record in merged], control)
        more = len(merged) == limit
        return ListTasksResponse(states, _encoded({str(at): place for at, place in places.items()}) if more else None)

    async def _waiting_for_manual_runs(
        self, queues: Sequence[Task], control: Control, since: int, before: int
    ) -> list[tuple[int, int, Record]]:
        """What would be held in the range if no manual runs were waiting, in order of ``ready_at``: tuples of that
        moment, the index of the queue, and the record."""
        if since < HELD or not control.requested:
            return []
        places = {parent.queue.name: at for at, parent in enumerate(queues)}
        refs = list(dict.fromkeys(run.ref for run in control.requested if run.queue in places))
        found: list[tuple[int, int, Record]] = []
        for record in await self._store.read(refs) if refs else ():
            if record is None or lease.state_of(record, self._clock.now()) is lease.State.LEASED:
                continue
            ready_at = schedule_side(record).ready_at
            if ready_at != record.ready_at and since <= ready_at < before:
                found.append((ready_at, places[record.queue], record))
        return sorted(found, key=_in_order)

    async def earliest(self, task: Task) -> int:
        """The earliest moment at which an instance is ready; HELD if none is."""
        ask = partial(self._store.scan_ready, limit=1)
        pages = await concurrently(
            [partial(ask, parent.queue) for parent in queues_of(task)], at_once=PARTITIONS_AT_ONCE
        )
        return min((record.ready_at for page in pages for record in page), default=HELD)

    async def held(self, task: Task, band: Band, control: Control) -> AsyncIterator[tuple[Task, Record]]:
        """The records in a band, each with its template or partition."""
        queues = queues_of(task)
        for _, at, record in await self._waiting_for_manual_runs(queues, control, band.since, band.before):
            yield queues[at], record
        for parent in queues:
            place: Place | None = None
            while page := await self._store.scan_ready(
                parent.queue, since=band.since, before=band.before, after=place, limit=MAX_BATCH
            ):
                place = (page[-1].ready_at, page[-1].key)
                for record in page:
                    yield parent, record

    async def count(self, parents: Sequence[Task], control: Control, since: int = LEAST, before: int = END) -> Count:
        """The number of records in all of these queues."""
        waiting = await self._waiting_for_manual_runs(parents, control, since, before)
        ask = partial(self._store.count, since=since, before=before)
        counts = await concurrently([partial(ask, parent.queue) for parent in parents], at_once=PARTITIONS_AT_ONCE)
        value = sum(count.value for count in counts) + len(waiting)
        return Count(value, exact=all(count.exact for count in counts))

    async def _states(self, found: Iterable[tuple[Task, Record]], control: Control) -> list[TaskState]:
        states: list[TaskState] = []
        for parent, record in found:
            if len(states) % STATES_AT_ONCE == STATES_AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()
            states.append(describe(parent, record, control, self._clock.now()))
        return states


def _in_order(entry: tuple[int, int, Record]) -> tuple[int, int, str]:
    ready_at, at, record = entry
    return ready_at, at, record.key


def queues_of(task: Task) -> Sequence[Task]:
    """The queues of a template.

    :raises ValueError: it is a static task or an instance.
    """
    check_task(task)
    if not task.dynamic:
        raise ValueError(f"{task.name!r} is not a dynamic task and has no instances to list; use get_task().")
    return task.queues


def window(state: str | None, due_before: int | None) -> tuple[int, int] | None:
    """The range of ``ready_at`` that holds what is listed, None for everything.

    :raises ValueError: the state is unknown, or can't be listed by itself, or both are given.
    """
    if state is None:
        return None if due_before is None else (LEAST, min(due_before, HELD))
    if due_before is not None:
        raise ValueError("state and due_before exclude each other: pass one of them.")
    if state not in BANDS:
        raise ValueError(
            f"state must be one of {', '.join(map(repr, BANDS))}, not {state!r}. Others can't be listed separately: "
            "pass due_before= to list what comes next, or list everything."
        )
    return BANDS[state].since, BANDS[state].before


def _encoded(position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _decoded(token: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        return None


def _decoded_key(token: str | None, queues: int) -> tuple[int, str | None]:
    if token is None:
        return 0, None
    match _decoded(token):
        case [queue, (None | str()) as after] if is_index(queue, queues):
            return queue, after
    raise _not_a_token()


def _decoded_places(token: str | None, queues: int) -> dict[int, Place]:
    if token is None:
        return {}
    places: dict[int, Place] = {}
    match _decoded(token):
        case dict() as found:
            for at, place in found.items():
                match place:
                    case [int() as ready_at, str() as key] if at.isdecimal() and int(at) < queues:
                        places[int(at)] = (ready_at, key)
                    case _:
                        raise _not_a_token()
            return places
    raise _not_a_token()


def _not_a_token() -> ValueError:
    return ValueError(
        "This is not a continuation token of the same list: "
        "pass back the one of the page before, with the same filters."
    )
