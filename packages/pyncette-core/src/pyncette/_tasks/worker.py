"""The records by which workers announce themselves, as versioned JSON text. Pure functions."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from pyncette._schedules.moments import to_datetime
from pyncette.record import Band, Queue, Record

from .names import Kind

VERSION = 1

WORKERS = Queue(":workers")
"""Where the records are: in a reserved queue, from which nothing is claimed."""

RENEWAL = 15_000_000
"""Microseconds between two writes of a record."""

LIFETIME = 4 * RENEWAL
"""Microseconds without a write after which a worker counts as dead."""

FURTHER_RENEWAL = 20 * RENEWAL
"""The same for a record with further names of tasks, which don't change."""

MAX_TASKS = 1000
"""How many names a record holds; further ones are in separate records, which are written less often."""


_KINDS: dict[str, Kind] = {kind[0]: kind for kind in get_args(Kind)}

_Tasks = tuple[tuple[str, ...], tuple[Kind, ...]]
"""Names and kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that executes tasks.

    :ivar name: what its leases begin with: ``worker_name``, by default host name and process id.
    :ivar host: its host name.
    :ivar pid: its process id.
    :ivar version: the version of pyncette-core.
    :ivar python: the version of Python.
    :ivar event_loop: ``"asyncio"``, ``"uvloop"`` or ``"trio"``.
    :ivar tasks: the names of the tasks that it executes.
    :ivar kinds: what each of them is declared as: static, dynamic or partitioned.
    :ivar task_count: how many they are. If that is more than there are names, further names are yet to be stored.
    :ivar concurrency_limit: how many executions it runs at the same time at most.
    :ivar running: how many it was running when it last wrote.
    :ivar started_at: when ``run()`` began, in UTC.
    :ivar last_tick: when the last pass of its loop that succeeded began, in UTC; None before the first.
    :ivar last_seen: when it last wrote, in UTC.
    :ivar clock_offset: seconds by which the storage's time is ahead of the machine's.
    :ivar history: how long it keeps the log of runs; None if it keeps none.
    :ivar samples: whether it reports what is stored.
    """

    name: str
    host: str
    pid: int
    version: str
    python: str
    event_loop: str
    tasks: tuple[str, ...]
    kinds: tuple[Kind, ...]
    task_count: int
    concurrency_limit: int
    running: int
    started_at: datetime.datetime
    last_tick: datetime.datetime | None
    last_seen: datetime.datetime
    clock_offset: float
    history: datetime.timedelta | None = None
    samples: bool = False


def encode(worker: Worker) -> str:
    fields: dict[str, Any] = {
        "v": VERSION,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "python": worker.python,
        "loop": worker.event_loop,
        **_listed(worker, 0),
        "count": worker.task_count,
        "limit": worker.concurrency_limit,
        "running": worker.running,
        "started": worker.started_at.isoformat(),
        "tick": worker.last_tick.isoformat() if worker.last_tick else None,
        "offset": round(worker.clock_offset, 6),
    }
    if worker.history is not None:
        fields["history"] = worker.history.total_seconds()
    if worker.samples:
        fields["samples"] = True
    return json.dumps(fields, separators=(",", ":"))


def encode_further(worker: Worker, of: str) -> list[str]:
    """The texts for task names that don't fit into the worker's record, whose key is ``of``."""
    starts = range(MAX_TASKS, len(worker.tasks), MAX_TASKS)
    return [
        json.dumps({"v": VERSION, "of": of, "page": number, **_listed(worker, since)}, separators=(",", ":"))
        for number, since in enumerate(starts)
    ]


def _listed(worker: Worker, since: int) -> dict[str, Any]:
    """The fields for one record's tasks: their names, and the first letters of their kinds."""
    page = slice(since, since + MAX_TASKS)
    return {"tasks": worker.tasks[page], "kinds": "".join(kind[0] for kind in worker.kinds[page])}


def _tasks(fields: dict[str, Any]) -> _Tasks:
    return tuple(map(str, fields["tasks"])), tuple(_KINDS[kind] for kind in fields["kinds"])


def decode_all(records: Iterable[Record]) -> dict[str, Worker]:
    """The workers by key, in the order of their records, with all stored names. Damaged records are left out."""
    workers: dict[str, Worker] = {}
    further: list[tuple[str, int, _Tasks]] = []
    for record in records:
        worker = decode(record)
        if worker is not None:
            workers[record.key] = worker
        else:
            further += _decode_further(record)
    for key, _, (names, kinds) in sorted(further):
        if (worker := workers.get(key)) is not None:
            workers[key] = replace(worker, tasks=(*worker.tasks, *names), kinds=(*worker.kinds, *kinds))
    return workers


def pruning_worker(workers: Mapping[str, Worker]) -> str | None:
    """The key of the worker that prunes the run log: the one that keeps it for the shortest time, and the first by key
    if there are several; None if no worker keeps a log."""
    keep = {key: worker.history for key, worker in workers.items() if worker.history is not None}
    return min(keep, key=lambda key: (keep[key], key), default=None)


def sampling_workers(workers: Mapping[str, Worker]) -> dict[tuple[str, Kind], str]:
    """For each task, the key of the worker that reports its stored instances: the first by key of those that execute
    the task and report samples."""
    found: dict[tuple[str, Kind], str] = {}
    for key, worker in sorted(workers.items()):
        if worker.samples:
            for task in zip(worker.tasks, worker.kinds, strict=False):
                found.setdefault(task, key)
    return found


def place_among(workers: Mapping[str, Worker], key: str) -> tuple[int, int]:
    """The place, from 0, of the worker at ``key`` among those that do the same work, and their number. If workers
    execute different tasks, those that share the task with the fewest workers count."""
    by_task: dict[tuple[str, Kind], list[str]] = {}
    for each, worker in sorted(workers.items()):
        for task in zip(worker.tasks, worker.kinds, strict=False):
            by_task.setdefault(task, []).append(each)
    alike = min((keys for keys in by_task.values() if key in keys), key=len, default=[key])
    return alike.index(key), len(alike)


def _decode_further(record: Record) -> list[tuple[str, int, _Tasks]]:
    try:
        fields = json.loads(record.spec)
        return [(str(fields["of"]), int(fields["page"]), _tasks(fields))]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def decode(record: Record) -> Worker | None:
    """The worker; None if the text is damaged, or from a version that omits fields that this one needs."""
    try:
        fields = json.loads(record.spec)
        tick, kept = fields["tick"], fields.get("history")
        names, kinds = _tasks(fields)
        return Worker(
            name=str(fields["name"]),
            host=str(fields["host"]),
            pid=int(fields["pid"]),
            version=str(fields["version"]),
            python=str(fields["python"]),
            event_loop=str(fields["loop"]),
            tasks=names,
            kinds=kinds,
            task_count=int(fields["count"]),
            concurrency_limit=int(fields["limit"]),
            running=int(fields["running"]),
            started_at=datetime.datetime.fromisoformat(fields["started"]),
            last_tick=None if tick is None else datetime.datetime.fromisoformat(tick),
            last_seen=to_datetime(record.due_at),
            clock_offset=float(fields["offset"]),
            history=None if kept is None else datetime.timedelta(seconds=float(kept)),
            samples=bool(fields.get("samples")),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def new_record(key: str, text: str, *, now: int, revision: str, lifetime: int = LIFETIME) -> Record:
    """The record of a worker that writes now. It is held until the moment at which the worker counts as dead."""
    return Record(WORKERS.name, key, now, Band.COMPLETED.at(now + lifetime), None, None, revision, 0, 0, text)
