"""Bulk calls: many instances scheduled or unscheduled with few round trips."""

from __future__ import annotations

import contextlib
import datetime
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio.lowlevel

from pyncette._leases.access import Access
from pyncette._leases.registration import Register, Remove
from pyncette._leases.writer import MAX_BATCH, Batching
from pyncette._leases.writes import Awaited
from pyncette._schedules.moments import moment_of
from pyncette._tasks.bound import BoundTask
from pyncette._tasks.existing import IfExists, Scheduling
from pyncette._tasks.keywords import SCHEDULE_PARAMETERS
from pyncette._tasks.task import Task, check_task
from pyncette._validation.checks import check_flag
from pyncette.errors import PyncetteException

from .instances import instance_ref

T = TypeVar("T")
W = TypeVar("W", bound=Awaited)

STEPS_AT_ONCE = 25
"""How many instances are prepared, or results read, before yielding to the event loop: about half a millisecond."""

ImportedInstance = tuple[str, datetime.datetime, Mapping[str, Any]]
"""Name, next occurrence, and the keywords of ``schedule_task``."""

Progress = Callable[[int], Any]
"""Called with the number of instances processed so far, including refused ones. May be a coroutine function."""


@dataclass(slots=True)
class BulkResult:
    """The result of a bulk call.

    :ivar done: how many instances were processed.
    :ivar refused: the name of each instance that was refused, and why.
    :ivar scheduling: what happened to those that were scheduled, with the number of each.
    :ivar runs: for those that were triggered, each name and the id of its run.
    """

    done: int = 0
    refused: list[tuple[str, Exception]] = field(default_factory=list)
    scheduling: Counter[Scheduling] = field(default_factory=Counter)
    runs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BulkCall:
    """A call about many instances.

    :ivar name: of the context's method.
    :ivar task: the template.
    """

    name: str
    task: Task
    access: Access

    @contextlib.contextmanager
    def announced(self, result: BulkResult) -> Iterator[None]:
        """Report the beginning and the end of the call to observers."""
        about = {"call": self.name, "task": self.task.template.name}
        observers = self.access.observers
        observers.look_who_is_awake()
        observers.tell("bulk_started", **about)
        started = time.perf_counter()
        error: BaseException | None = None
        try:
            yield
        except BaseException as e:
            error = e
            raise
        finally:
            duration = time.perf_counter() - started
            counts = {"done": result.done, "refused": len(result.refused)}
            observers.tell("bulk_finished", **about, **counts, duration=duration, error=error)


async def schedule_many(
    call: BulkCall,
    instances: Iterable[Any] | AsyncIterable[Any],
    *,
    if_exists: IfExists,
    progress: Progress | None,
) -> BulkResult:
    task = call.task
    check_task(task)

    def prepare(item: Any) -> tuple[str, Register]:
        name, kwargs = _keywords(task, item)
        paused = kwargs.pop("paused", False)
        check_flag("paused", paused)
        return name, Register(
            task.instantiate(name, **kwargs),
            if_exists,
            to_be_paused=paused,
            carried=call.access.observers.carried(),
        )

    return await Bulk(call, prepare, lambda item: item[0], progress).run(instances)


def _keywords(task: Task, item: Any) -> tuple[str, dict[str, Any]]:
    """The name of an instance, and its keywords for ``schedule_task``."""
    match item:
        case (name, BoundTask() as bound):
            return name, {"args": bound.args_for(task)}
        case (name, BoundTask() as bound, Mapping() as keywords):
            if others := keywords.keys() - {*SCHEDULE_PARAMETERS, "paused"}:
                raise TypeError(f"{min(others)!r} is not a keyword of an instance: pass all arguments to with_args().")
            return name, {**keywords, "args": bound.args_for(task)}
        case (name, Mapping() as keywords):
            return name, dict(keywords)
    form = "('name', {…})" if task.arguments is None else "('name', task.with_args(…), {…})"
    raise TypeError(f"Not a pair of instance name and keywords, {form}: {item!r}.")


async def import_many(
    call: BulkCall,
    instances: Iterable[ImportedInstance] | AsyncIterable[ImportedInstance],
    *,
    progress: Progress | None,
) -> BulkResult:
    task = call.task
    check_task(task)

    def prepare(item: ImportedInstance) -> tuple[str, Register]:
        name, next_at, kwargs = item
        return name, Register(
            task.instantiate(name, **kwargs),
            "keep",
            moment_of("the next occurrence", next_at),
            carried=call.access.observers.carried(),
        )

    return await Bulk(call, prepare, lambda item: item[0], progress).run(instances)


async def unschedule_many(
    call: BulkCall, names: Iterable[str] | AsyncIterable[str], *, progress: Progress | None
) -> BulkResult:
    task = call.task
    check_task(task)

    def prepare(name: str) -> tuple[str, Remove]:
        return name, Remove(instance_ref(task, name))

    return await Bulk(call, prepare, str, progress).run(names)


class Bulk(Generic[T, W]):
    """Sends writes in batches, and collects their results."""

    def __init__(
        self,
        call: BulkCall,
        prepare: Callable[[T], tuple[str, W]],
        label: Callable[[T], object],
        progress: Progress | None,
    ) -> None:
        self._call = call
        self._prepare = prepare
        self._label = label
        self._progress = progress
        self._result = BulkResult()
        self._steps = 0

    async def run(self, items: Iterable[T] | AsyncIterable[T]) -> BulkResult:
        if isinstance(items, str):
            raise TypeError(f"A bulk call takes many instances, not one text: write [{items!r}].")
        with self._call.announced(self._result):
            await self._run(items)
        return self._result

    async def _run(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        batch: list[tuple[str, W]] = []
        async for item in _each(items):
            await self._give_way()
            try:
                batch.append(self._prepare(item))
            except (TypeError, ValueError) as e:
                self._result.refused.append((_name(self._label, item), e))
            if len(batch) >= MAX_BATCH:
                await self._send(batch)
                batch = []
        await self._send(batch)

    async def _send(self, batch: list[tuple[str, W]]) -> None:
        await self._call.access.writer.send([write for _, write in batch])
        stored: list[tuple[str, W]] = []
        for name, write in batch:
            await self._give_way()
            try:
                await write.wait()
            except (PyncetteException, TypeError) as e:
                self._result.refused.append((name, e))
            else:
                stored.append((name, write))
                if isinstance(write, Register):
                    self._result.scheduling[write.how] += 1
        refused = await self.follow_up(stored)
        self._result.refused += [(name, refused[write]) for name, write in stored if write in refused]
        self._result.done += len(stored) - len(refused)
        await report_progress(self._progress, self._result.done + len(self._result.refused))

    async def follow_up(self, stored: Sequence[tuple[str, W]]) -> Mapping[W, Exception]:
        """Do what remains to be done for a stored batch of names and writes. Returns the writes that it failed for, and
        why."""
        return {}

    async def _give_way(self) -> None:
        """Yield to the event loop, so that executions and heartbeats don't wait for the whole batch."""
        self._steps += 1
        if self._steps % STEPS_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()


async def store_all(writer: Batching, writes: Sequence[Awaited]) -> None:
    """Send writes that can't be refused, and wait for them.

    :raises RepositoryException: the storage failed; some of them may be stored.
    """
    await writer.send(writes)
    for number, write in enumerate(writes):
        if number % STEPS_AT_ONCE == STEPS_AT_ONCE - 1:
            await anyio.lowlevel.checkpoint()
        await write.wait()


async def report_progress(progress: Progress | None, number: int) -> None:
    """Report how many instances have been processed so far."""
    if progress is not None:
        awaitable = progress(number)
        if inspect.isawaitable(awaitable):
            await awaitable


def _name(label: Callable[[T], object], item: T) -> str:
    if isinstance(item, str):  # only a name
        return item
    try:
        return str(label(item))
    except (TypeError, LookupError):
        return repr(item)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
