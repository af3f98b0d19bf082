"""What is stored, whoever declares it: tasks, and those that nobody executes any more."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pyncette._leases.control import ControlReading
from pyncette._leases.registration import Remove
from pyncette._leases.store import Store
from pyncette._leases.workers import Registry
from pyncette._leases.writer import Writer
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.names import escape, template_of
from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.policies import MOST_RUNS, ExecutionMode, Policies
from pyncette._tasks.task import Task
from pyncette.errors import RepositoryException
from pyncette.record import Queue, Ref

from .bulk import Progress, store_all, tell
from .listing import END

PAGE = 1000

Kind = Literal["static", "dynamic", "partitioned"]


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task of which something is stored, or that this app declares.

    :ivar name: its name.
    :ivar kind: static, dynamic or partitioned.
    :ivar partition_count: of a partitioned task, as far as it is known; otherwise None.
    :ivar declared: whether this app declares it.
    :ivar stored: whether something of it is stored.
    :ivar paused_since: since when the template is paused, in UTC; None if it is not.
    :ivar paused_reason: why.
    """

    name: str
    kind: Kind
    partition_count: int | None
    declared: bool
    stored: bool
    paused_since: datetime.datetime | None = None
    paused_reason: str | None = None


class Inventory:
    """What is stored, for one app context."""

    def __init__(
        self, store: Store, writer: Writer, reading: ControlReading, registry: Registry, declared: Sequence[Task]
    ) -> None:
        self._store = store
        self._writer = writer
        self._reading = reading
        self._registry = registry
        self._declared = {task.name: task for task in declared}

    async def tasks(self) -> list[StoredTask]:
        """All tasks that are stored or declared, by name."""
        control = await self._reading.follow()
        found: dict[str, set[int | None]] = {name: set() for name in self._declared}
        for queue in await self._queues():
            name, partition = template_of(queue)
            found.setdefault(name, set()).add(partition)
        tasks = []
        for name, partitions in sorted(found.items()):
            kind, count = await self._kind(name, partitions)
            pause = control.paused.get(escape(name))
            tasks.append(
                StoredTask(
                    name,
                    kind,
                    count,
                    name in self._declared,
                    bool(partitions),
                    to_datetime(pause.since) if pause else None,
                    pause.reason if pause else None,
                )
            )
        return tasks

    async def orphans(self) -> list[StoredTask]:
        """Those that are stored, and that neither a live worker nor this app declares."""
        workers = await self._registry.alive()
        for worker in workers:
            if worker.task_count > len(worker.tasks):
                raise RepositoryException(
                    f"The worker {worker.name!r} executes {worker.task_count:,} tasks and lists {len(worker.tasks):,} "
                    "of them so far: what nobody executes can't be told. Ask again in some minutes."
                )
        known = {name for worker in workers for name in worker.tasks} | self._declared.keys()
        return [task for task in await self.tasks() if task.stored and task.name not in known]

    async def find(self, name: str) -> Task:
        """A task by its name, declared here or not."""
        if name in self._declared:
            return self._declared[name]
        stored = {task.name: task for task in await self.tasks()}
        if name not in stored:
            known = ", ".join(map(repr, list(stored)[:10])) or "nothing"
            raise LookupError(f"There is no task {name!r}: stored here is {known}.")
        return _handle(stored[name])

    async def purge(self, name: str, progress: Progress | None) -> int:
        """Remove all that is stored of an orphan."""
        orphans = {task.name: task for task in await self.orphans()}
        if name not in orphans:
            known = ", ".join(map(repr, orphans)) or "none"
            raise ValueError(
                f"{name!r} is no orphan: only tasks that no live worker and not this app declares are removed "
                f"(now {known}). Unschedule instances of the others instead."
            )
        removed = 0
        for queue in _handle(orphans[name]).queues:
            for static in (False, True):
                while records := await self._store.scan(Queue(queue.canonical_name, static), after=None, limit=PAGE):
                    await store_all(self._writer, [Remove(record.ref) for record in records])
                    removed += len(records)
                    await tell(progress, removed)
        return removed

    async def _kind(self, name: str, partitions: set[int | None]) -> tuple[Kind, int | None]:
        declared = self._declared.get(name)
        if isinstance(declared, PartitionedTask):
            return "partitioned", declared.partition_count
        if declared is not None:
            return ("dynamic" if declared.dynamic else "static"), None
        numbers = [number for number in partitions if number is not None]
        if numbers:
            return "partitioned", self._reading.control.partitions.get(escape(name), max(numbers) + 1)
        (record,) = await self._store.read([Ref(escape(name), escape(name))])
        return ("dynamic" if record is None else "static"), None

    async def _queues(self) -> list[str]:
        """The names of users' queues that hold something."""
        found: list[str] = []
        after: str | None = None
        while True:
            page = await self._store.queues(after=after, limit=PAGE)
            for name in page:
                reserved = name.startswith(":") and not name.startswith("::")
                if not reserved and (template_of(name)[0] in self._declared or await self._holds_something(name)):
                    found.append(name)
            if len(page) < PAGE:
                return found
            after = page[-1]

    async def _holds_something(self, queue: str) -> bool:
        """A storage may name queues that have become empty."""
        for static in (False, True):
            if (await self._store.count(Queue(queue, static), before=END, limit=1)).value:
                return True
        return False


_NOT_HERE = Policies(execution_mode=ExecutionMode.AT_MOST_ONCE, keep_runs=MOST_RUNS)
"""What a program goes by that knows none of the task's policies: it drops no recent run, and does not schedule again
what may have run. The others are up to the worker that claims the instance, jitter included."""


def _handle(stored: StoredTask) -> Task:
    """The task as far as it can be known without its code: enough to list and steer it, not to execute it."""
    common: dict[str, Any] = {"schedule": None, "args": {}, "policies": _NOT_HERE}
    if stored.kind == "partitioned":
        return PartitionedTask(stored.name, _not_here, partition_count=stored.partition_count or 1, **common)
    return Task(stored.name, _not_here, dynamic=stored.kind == "dynamic", **common)


async def _not_here(context: object) -> None:
    raise RuntimeError("This program does not declare the task, and can't execute it.")
