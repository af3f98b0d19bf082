"""All stored tasks, whoever declares them, including orphans, which no worker executes any more."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyncette._leases.control import ChangeControl, ControlReading
from pyncette._leases.registration import Remove
from pyncette._leases.store import Store
from pyncette._leases.workers import Registry
from pyncette._leases.writer import Writer
from pyncette._lifecycle.extra import schedule_side
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.control import Control, Pause
from pyncette._tasks.names import Kind, escape, is_reserved, task_of, unescape
from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.policies import MAX_RUNS, ExecutionMode, Policies
from pyncette._tasks.state import State
from pyncette._tasks.task import Task
from pyncette._tasks.worker import Worker
from pyncette.errors import OrphansUnknownException
from pyncette.record import Band, Queue, Ref

from .bulk import Progress, report_progress, store_all
from .listing import END

PAGE = 1000


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task that is stored, or that this app declares.

    :ivar name: its name.
    :ivar kind: static, dynamic or partitioned. If a task was turned from one kind into another, what is stored of the
        former kind is listed as a separate task with the same name.
    :ivar partition_count: the number of partitions of a partitioned task, if it is known; otherwise None.
    :ivar declared: whether this app declares it.
    :ivar stored: whether anything is stored for it; for a partitioned task, that may be only its partition count.
    :ivar paused_since: since when the static task or the template is paused, in UTC; None if it is not.
    :ivar paused_reason: why.
    """

    name: str
    kind: Kind
    partition_count: int | None
    declared: bool
    stored: bool
    paused_since: datetime.datetime | None = None
    paused_reason: str | None = None


_Task = tuple[str, Kind]
"""Name and kind."""


class Inventory:
    """The stored tasks, for one app context."""

    def __init__(
        self, store: Store, writer: Writer, reading: ControlReading, registry: Registry, declared: Sequence[Task]
    ) -> None:
        self._store = store
        self._writer = writer
        self._reading = reading
        self._registry = registry
        self._declared = {(task.name, task.kind): task for task in declared}

    async def tasks(self) -> list[StoredTask]:
        """All tasks that are stored or declared, by name."""
        control = await self._reading.follow()
        partitions: dict[_Task, set[int | None]] = {task: set() for task in self._declared}
        queues = await self._queues()
        for queue in queues:
            name, kind, partition = task_of(queue)
            partitions.setdefault((name, kind), set()).add(partition)
        for canonical_name in control.partitions:
            partitions.setdefault((unescape(canonical_name), "partitioned"), set())
        paused = await self._paused_statics([queue for queue in queues if task_of(queue)[1] == "static"])
        return [self._described(task, numbers, control, paused) for task, numbers in sorted(partitions.items())]

    async def _paused_statics(self, queues: Sequence[str]) -> dict[str, Pause]:
        """The pauses of static tasks, by name. They are in the tasks' own records; those of templates are in the
        control record."""
        found: dict[str, Pause] = {}
        for start in range(0, len(queues), PAGE):
            records = await self._store.read([Ref(queue, queue) for queue in queues[start : start + PAGE]])
            for record in records:
                if record is not None and Band.of(ready_at := schedule_side(record).ready_at) is Band.PAUSED:
                    why = State(record.state).why or ""
                    found[task_of(record.queue)[0]] = Pause(ready_at - Band.PAUSED.since, why)
        return found

    def _described(
        self, task: _Task, partitions: set[int | None], control: Control, statics: Mapping[str, Pause]
    ) -> StoredTask:
        """
        :param partitions: those that hold something; None for a queue that is not a partition.
        :param statics: the static tasks that are paused.
        """
        name, kind = task
        pause = statics.get(name) if kind == "static" else control.paused.get(escape(name))
        return StoredTask(
            name,
            kind,
            self._partition_count(name, partitions, control) if kind == "partitioned" else None,
            task in self._declared,
            bool(partitions) or (kind == "partitioned" and escape(name) in control.partitions),
            to_datetime(pause.since) if pause else None,
            pause.reason if pause else None,
        )

    def _partition_count(self, name: str, partitions: set[int | None], control: Control) -> int:
        declared = self._declared.get((name, "partitioned"))
        if isinstance(declared, PartitionedTask):
            return declared.partition_count
        largest = max((number for number in partitions if number is not None), default=0)
        return control.partitions.get(escape(name), largest + 1)

    async def orphans(self) -> list[StoredTask]:
        """The stored tasks that no live worker executes and this app doesn't declare."""
        workers = await self._registry.alive()
        for worker in workers:
            if worker.task_count > len(worker.tasks):
                raise OrphansUnknownException(
                    f"The worker {worker.name!r} executes {worker.task_count:,} tasks and lists {len(worker.tasks):,} "
                    "of them so far: orphans can't be determined yet. Try again in a few minutes."
                )
        known = _executed(workers) | self._declared.keys()
        return [task for task in await self.tasks() if task.stored and (task.name, task.kind) not in known]

    async def find(self, name: str, kind: Kind | None) -> Task:
        """A task by its name, whether or not this app declares it."""
        for declared in self._declared.values():
            if declared.name == name and kind in (None, declared.kind):
                return declared
        stored = await self.tasks()
        found = [task for task in stored if task.name == name and kind in (None, task.kind)]
        if len(found) > 1:
            executed = _executed(await self._registry.alive())
            found = [task for task in found if (task.name, task.kind) in executed] or found
        if not found:
            known = ", ".join(repr(task.name) for task in stored[:10]) or "nothing"
            raise LookupError(f"There is no {kind or ''} task {name!r}: stored here is {known}.".replace("  ", " "))
        if len(found) > 1:
            kinds = " and ".join(task.kind for task in found)
            raise LookupError(f"What is stored of {name!r} is {kinds}: say which one is meant, kind={found[0].kind!r}.")
        return _handle(found[0])

    def task_of(self, stored: StoredTask) -> Task:
        """The task for an entry of the list."""
        return self._declared.get((stored.name, stored.kind)) or _handle(stored)

    async def purge(self, name: str, kind: Kind | None, progress: Progress | None) -> int:
        """Remove everything that is stored for an orphan. Returns the number of records."""
        orphans = await self.orphans()
        purged = [task for task in orphans if task.name == name and kind in (None, task.kind)]
        if not purged:
            known = ", ".join(repr(task.name) for task in orphans) or "none"
            raise ValueError(
                f"{name!r} is not an orphan: only tasks that neither a live worker nor this app declares are removed "
                f"(now {known}). Unschedule instances of the others instead."
            )
        removed = 0
        for orphan in purged:
            queues = [queue.queue for queue in _handle(orphan).queues]
            for queue in queues:
                while records := await self._store.scan(queue, after=None, limit=PAGE):
                    await store_all(self._writer, [Remove(record.ref) for record in records])
                    removed += len(records)
                    await report_progress(progress, removed)
            await self._forget(orphan, [queue.name for queue in queues])
        return removed

    async def _forget(self, purged: StoredTask, queues: Sequence[str]) -> None:
        """Remove a purged template from the control record, so that a new one with its name starts over."""
        if purged.kind == "static":
            return
        partitioned = purged.kind == "partitioned"
        others = [task for task in await self.tasks() if task.name == purged.name and task.kind != "static"]
        other = any(task.kind != purged.kind for task in others)
        name = escape(purged.name)
        write = ChangeControl(
            lambda control, _: control.purged(name, queues, partitioned=partitioned, other=other), self._reading
        )
        await self._writer.store(write)

    async def _queues(self) -> list[str]:
        """The names of users' queues that hold something."""
        found: list[str] = []
        after: str | None = None
        while True:
            page = await self._store.queues(after=after, limit=PAGE)
            found += [name for name in page if not is_reserved(name) and await self._is_in_use(name)]
            if len(page) < PAGE:
                return found
            after = page[-1]

    async def _is_in_use(self, queue: str) -> bool:
        """Whether the queue's task is declared or the queue holds something. Storages may list queues that have become
        empty."""
        name, kind, _ = task_of(queue)
        if (name, kind) in self._declared:
            return True
        count = await self._store.count(Queue(queue, static=kind == "static"), before=END, limit=1)
        return count.value > 0


def _executed(workers: Iterable[Worker]) -> set[_Task]:
    return {task for worker in workers for task in zip(worker.tasks, worker.kinds, strict=False)}


_UNKNOWN_POLICIES = Policies(execution_mode=ExecutionMode.AT_MOST_ONCE, keep_runs=MAX_RUNS)
"""The policies of a program that doesn't know the task's own. They keep all recent runs, and don't reschedule what may
have run. The worker that claims the instance applies the actual policies, including jitter."""


def _handle(stored: StoredTask) -> Task:
    """A task created without its code: enough to list and control it, but not to execute it."""
    common: dict[str, Any] = {"schedule": None, "args": {}, "policies": _UNKNOWN_POLICIES}
    if stored.kind == "partitioned":
        return PartitionedTask(stored.name, _not_executable, partition_count=stored.partition_count or 1, **common)
    return Task(stored.name, _not_executable, dynamic=stored.kind == "dynamic", **common)


async def _not_executable(context: object) -> None:
    raise RuntimeError("This program does not declare the task, and can't execute it.")
