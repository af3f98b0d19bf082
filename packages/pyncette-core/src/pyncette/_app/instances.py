"""Creates, changes, removes and lists task instances at run time."""

from __future__ import annotations

import base64
import datetime
import json
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from pyncette import lease
from pyncette._leases.registration import Register, Remove
from pyncette._leases.store import Store
from pyncette._leases.writer import MAX_BATCH, Writer
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.names import check_name
from pyncette._tasks.spec import UndecodableSpec, decode
from pyncette._tasks.task import Task, check_task
from pyncette._validation.checks import check_count, is_index
from pyncette.clock import Clock
from pyncette.errors import RepositoryException
from pyncette.record import Record, Ref

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is stored of a static task or an instance.

    :ivar scheduled_at: the next occurrence, or the one being executed, in the task's timezone.
    :ivar locked_until: end of the lease, None when nobody holds it.
    :ivar locked_by: who holds it.
    """

    task: Task
    scheduled_at: datetime.datetime
    locked_until: datetime.datetime | None
    locked_by: str | None


@dataclass(frozen=True, slots=True)
class ListTasksResponse:
    """A page of instances.

    :ivar continuation_token: pass it to get the next page; None when there are no more.
    """

    tasks: list[TaskState]
    continuation_token: str | None


class Instances:
    """The operations on instances of one app context."""

    def __init__(self, store: Store, writer: Writer, clock: Clock, *, batch_size: int) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._batch_size = batch_size
        self._undecodable: set[str] = set()

    async def schedule(self, instance: Task, force: bool) -> None:
        write = Register(instance, force=force)
        self._writer.submit(write)
        await write.wait()

    async def unschedule(self, task: Task, name: str | None) -> None:
        write = Remove(instance_ref(task, name))
        self._writer.submit(write)
        await write.wait()

    async def get(self, task: Task, name: str | None) -> TaskState | None:
        home, ref = locate(task, name)
        [record] = await self._store.read([ref])
        if record is None:
            return None
        try:
            return self._state(home, record)
        except UndecodableSpec as e:
            raise RepositoryException(
                f"The record of {ref.key!r} can't be decoded ({e}). Schedule it anew with force=True, or unschedule it."
            ) from e

    async def page(self, task: Task, limit: int | None, token: str | None) -> ListTasksResponse:
        check_task(task)
        if not task.dynamic:
            raise ValueError(f"{task.name!r} is not a dynamic task and has no instances to list; use get_task().")
        limit = self._batch_size if limit is None else check_count("limit", limit, sys.maxsize)
        at, after = _decode_token(token, len(task.queues))
        states: list[TaskState] = []
        while at < len(task.queues) and len(states) < limit:
            home, size = task.queues[at], min(limit - len(states), MAX_BATCH)
            records = await self._store.scan(home.queue, after=after, limit=size)
            states += self._states(home, records)
            at, after = (at + 1, None) if len(records) < size else (at, records[-1].key)
        return ListTasksResponse(states, None if at >= len(task.queues) else _encode_token(at, after))

    def _states(self, home: Task, records: Iterable[Record]) -> Iterable[TaskState]:
        for record in records:
            try:
                yield self._state(home, record)
            except UndecodableSpec as e:
                if record.key not in self._undecodable:
                    self._undecodable.add(record.key)
                    logger.error(
                        "The record of %r can't be decoded (%s); it is left out of lists.",
                        record.key,
                        e,
                        extra={"task": record.key},
                    )

    def _state(self, home: Task, record: Record) -> TaskState:
        spec, args = decode(record.spec)
        task = home.restore(home.name_in(record.key), spec.schedule, args) if home.dynamic else home
        held = lease.state_of(record, self._clock.now()) is lease.State.LEASED
        return TaskState(
            task,
            to_datetime(record.due_at, spec.schedule.tz),
            to_datetime(record.locked_until) if held and record.locked_until is not None else None,
            record.locked_by if held else None,
        )


def locate(task: Task, name: str | None) -> tuple[Task, Ref]:
    """What a static task, an instance, or a template and the name of an instance stand for: its home and its record.

    :raises ValueError: a name is missing, or there is one too many.
    """
    check_task(task)
    if task.dynamic:
        if name is None:
            raise ValueError(f"{task.name!r} is a dynamic task: name the instance as well.")
        home = task.home_of(check_name(name, "task instance"))
        return home, home.restore(name, None, {}).ref
    if name is not None:
        raise ValueError(f"{task.name!r} is not a dynamic task: leave the instance name {name!r} out.")
    return task.parent_task or task, task.ref


def instance_ref(task: Task, name: str | None) -> Ref:
    """Where the record of an instance is, given as itself or by its template and name.

    :raises ValueError: it is a static task, or the name is missing, or there is one too many.
    """
    check_task(task)
    if not task.dynamic and task.parent_task is None:
        raise ValueError(f"{task.name!r} is a static task and can't be unscheduled: set its enabled to False instead.")
    return locate(task, name)[1]


def _encode_token(queue: int, after: str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([queue, after]).encode()).decode()


def _decode_token(token: str | None, queues: int) -> tuple[int, str | None]:
    if token is None:
        return 0, None
    try:
        queue, after = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError):
        queue, after = None, None
    if not is_index(queue, queues) or not (after is None or isinstance(after, str)):
        raise ValueError("This is not a continuation token of list_tasks: pass back the one of the page before.")
    return queue, after
