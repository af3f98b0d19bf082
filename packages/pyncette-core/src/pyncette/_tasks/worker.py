"""What a process says of itself: one record for each, as versioned JSON text. Pure functions."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass

from pyncette._schedules.moments import to_datetime
from pyncette.record import Band, Queue, Record

VERSION = 1

WORKERS = Queue(":workers")
"""Where the records are: in a reserved queue, which nobody claims from."""

RENEWAL = 15_000_000
"""Microseconds between two writes of a record."""

LIFETIME = 4 * RENEWAL
"""Microseconds without a write after which a worker counts as dead."""

MOST_TASKS = 1000
"""How many names a record holds at most: it is written often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that executes tasks.

    :ivar name: what its leases begin with: ``worker_name``, by default host name and process id.
    :ivar host: its host name.
    :ivar pid: its process id.
    :ivar version: the version of pyncette-core.
    :ivar python: the version of Python.
    :ivar event_loop: ``"asyncio"``, ``"uvloop"`` or ``"trio"``.
    :ivar tasks: the names of the tasks that it executes, 1,000 of them at most.
    :ivar task_count: how many tasks it executes.
    :ivar concurrency_limit: how many executions it runs at the same time at most.
    :ivar running: how many it was running when it last wrote.
    :ivar started_at: when ``run()`` began, in UTC.
    :ivar last_tick: when the last pass of its loop that succeeded began, in UTC; None before the first.
    :ivar last_seen: when it last wrote, in UTC.
    :ivar clock_offset: seconds by which the storage's time is ahead of the machine's.
    """

    name: str
    host: str
    pid: int
    version: str
    python: str
    event_loop: str
    tasks: tuple[str, ...]
    task_count: int
    concurrency_limit: int
    running: int
    started_at: datetime.datetime
    last_tick: datetime.datetime | None
    last_seen: datetime.datetime
    clock_offset: float


def encode(worker: Worker) -> str:
    fields = {
        "v": VERSION,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "python": worker.python,
        "loop": worker.event_loop,
        "tasks": worker.tasks[:MOST_TASKS],
        "count": worker.task_count,
        "limit": worker.concurrency_limit,
        "running": worker.running,
        "started": worker.started_at.isoformat(),
        "tick": worker.last_tick.isoformat() if worker.last_tick else None,
        "offset": round(worker.clock_offset, 6),
    }
    return json.dumps(fields, separators=(",", ":"))


def decode(record: Record) -> Worker | None:
    """The worker, None if the text is damaged or of a version that leaves out what this one needs."""
    try:
        fields = json.loads(record.spec)
        tick = fields["tick"]
        return Worker(
            name=str(fields["name"]),
            host=str(fields["host"]),
            pid=int(fields["pid"]),
            version=str(fields["version"]),
            python=str(fields["python"]),
            event_loop=str(fields["loop"]),
            tasks=tuple(map(str, fields["tasks"])),
            task_count=int(fields["count"]),
            concurrency_limit=int(fields["limit"]),
            running=int(fields["running"]),
            started_at=datetime.datetime.fromisoformat(fields["started"]),
            last_tick=None if tick is None else datetime.datetime.fromisoformat(tick),
            last_seen=to_datetime(record.due_at),
            clock_offset=float(fields["offset"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def new_record(key: str, text: str, *, now: int, revision: str) -> Record:
    """The record of a worker that writes now. It is held until the moment at which it counts as dead."""
    return Record(WORKERS.name, key, now, Band.COMPLETED.at(now + LIFETIME), None, None, revision, 0, 0, text)
