"""Cancels every method of a repository, its opening and its closing at every point where the driver waits.

If the repository is behind the bridge (:func:`pyncette.bridge.asyncio_only`), the points are counted on its side, and
its caller on trio is cancelled.
"""

from __future__ import annotations

import functools
import os
import threading
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, TypeVar

import anyio
import anyio.lowlevel

from pyncette.bridge import wrap_inside
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.repository import Repository

from .faults import METHODS, Call, FaultPlan, FaultyRepository, Method, at_checkpoint

_T = TypeVar("_T")

Manager = AbstractAsyncContextManager[Repository]
Target = Method | Literal["open", "close"]

NOW = 1_800_000_000_000_000
QUEUE = Queue("cancellation")
BATCH = 20
MAX_POINTS = 500
OPEN_FILES = "/dev/fd" if os.path.isdir("/dev/fd") else None
"""Where the operating system lists the open files of this process, if it does."""


async def cancel_everywhere(
    factory: Callable[[], Manager],
    *,
    connections: Callable[[], Awaitable[int]] | None = None,
    timeout: float = 30,
) -> dict[Target, int]:
    """Cancel everything that a repository does, everywhere. After each time it must work, in the end nothing of it
    may be left: no thread, no task, no open file or socket.

    :param factory: makes a repository of a storage in which nothing else uses the queue ``cancellation``.
    :param connections: counts the connections that the server has, if the test can ask it.
    :param timeout: seconds after which a call counts as hung, and something that is left as leaked.
    :return: at how many points each method, the opening and the closing were cancelled. A test should assert those
        that it knows to wait for something.
    """
    sweep = _Sweep(factory, timeout)
    counters: dict[str, Callable[[], Awaitable[int]]] = {"open files and sockets": _files, "threads": _threads}
    if connections is not None:
        counters["connections"] = connections
    await sweep.use()  # afterwards, lazily created globals of the process and event loop exist
    before = {name: await count() for name, count in counters.items()}

    points: dict[Target, int] = {"open": await sweep.opening("open")}
    points |= await sweep.methods(counters)
    points["close"] = await sweep.opening("close")
    for name, count in counters.items():
        await sweep.falls_to(before[name], count, f"{name} after closing")
    return points


@dataclass
class _Trigger:
    """Cancels the caller when the target waits for the ``point``-th time, counted from 1.

    :ivar cancel: cancels the caller; called in the repository's event loop.
    :ivar fired: whether it has cancelled.
    :ivar tasks: the number of tasks in the repository's event loop at the last call.
    """

    target: Target | None = None
    point: int = 0
    cancel: Callable[[], None] = lambda: None
    fired: bool = False
    tasks: int = 0

    async def watch(self, target: Target, work: Coroutine[Any, Any, _T]) -> _T:
        if target != self.target:
            return await work
        return await at_checkpoint(self.point, self._fire, work)

    def _fire(self) -> None:
        self.fired = True
        self.cancel()


class _Watched(AbstractAsyncContextManager[Repository]):
    """A repository's context manager, and the repository, with a trigger."""

    def __init__(self, manager: Manager, trigger: _Trigger) -> None:
        self._manager = manager
        self._trigger = trigger

    async def __aenter__(self) -> Repository:
        repository = await self._trigger.watch("open", self._manager.__aenter__())
        plan = FaultPlan()
        plan.always(self._call)
        return FaultyRepository(repository, plan)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._trigger.watch("close", self._manager.__aexit__(kind, error, traceback))

    async def _call(self, call: Call) -> Any:
        self._trigger.tasks = len(anyio.get_running_tasks())
        return await self._trigger.watch(call.method, call.run())


class _Sweep:
    def __init__(self, factory: Callable[[], Manager], timeout: float) -> None:
        self._factory = factory
        self._timeout = timeout
        self._trigger = _Trigger()

    def open(self) -> Manager:
        return wrap_inside(self._factory(), lambda manager: _Watched(manager, self._trigger))

    async def use(self) -> None:
        async with self.open() as repository:
            await self._reset(repository)
            await self._clear(repository)

    async def opening(self, target: Literal["open", "close"]) -> int:
        """Cancel the opening, or the closing, at each point."""
        return await self._at_each_point(target, self.use, self.use)

    async def methods(self, counters: dict[str, Callable[[], Awaitable[int]]]) -> dict[Target, int]:
        """Cancel each method at each point, twice, to see whether the number of open resources grows."""
        async with self.open() as repository:
            points: dict[Target, int] = {method: await self._method(repository, method) for method in METHODS}
            before = {name: await count() for name, count in counters.items()}
            tasks = await self._tasks(repository)
            for method in METHODS:
                await self._method(repository, method)
            for name, count in counters.items():
                await self.falls_to(before[name], count, f"{name} of an open repository")
            await self.falls_to(tasks, functools.partial(self._tasks, repository), "tasks of an open repository")
            await self._clear(repository)
        return points

    async def falls_to(self, limit: int, count: Callable[[], Awaitable[int]], what: str) -> None:
        """Wait until the count is within the limit, because resources may be closed in the background."""
        with anyio.move_on_after(self._timeout):
            while await count() > limit:  # noqa: ASYNC110 - nothing reports when it is closed
                await anyio.sleep(0.01)
        now = await count()
        assert now <= limit, f"{what}: {now}, of which {now - limit} are left behind"

    async def _method(self, repository: Repository, method: Method) -> int:
        async def call() -> object:
            return await _calls(repository, self._records)[method]()

        async def reset() -> None:
            await self._reset(repository)

        await reset()
        return await self._at_each_point(method, call, reset)

    async def _at_each_point(
        self, target: Target, work: Callable[[], Awaitable[object]], then: Callable[[], Awaitable[object]]
    ) -> int:
        for point in range(1, MAX_POINTS):
            self._trigger.target, self._trigger.point, self._trigger.fired = target, point, False
            with anyio.fail_after(self._timeout):
                with anyio.CancelScope() as scope:
                    self._trigger.cancel = _from_anywhere(scope)
                    await work()
                self._trigger.target = None
                await then()
            if not self._trigger.fired:
                return point - 1
        raise AssertionError(f"{target} waits more than {MAX_POINTS} times")

    async def _reset(self, repository: Repository) -> None:
        """Store all records as new ones, which works only if the repository is intact."""
        refs = [_record(number).ref for number in range(BATCH)]
        swaps = [Swap.BUSY]
        while not all(swap is Swap.APPLIED for swap in swaps):  # the server may still be executing a cancelled call
            found = await repository.read(refs)
            self._records = [_record(number) for number in range(BATCH)]
            changes = [Change(old, new) for old, new in zip(found, self._records, strict=True)]
            swaps = await repository.swap(changes)

    async def _clear(self, repository: Repository) -> None:
        swaps = await repository.swap([Change(one, None) for one in self._records])
        assert all(swap is Swap.APPLIED for swap in swaps)

    async def _tasks(self, repository: Repository) -> int:
        await self._reset(repository)
        return self._trigger.tasks


def _record(number: int) -> Record:
    return Record(QUEUE.name, f"{QUEUE.name}:{number}", NOW, NOW, None, None, uuid.uuid4().hex, 0, 0, "{}")


def _calls(repository: Repository, records: list[Record]) -> dict[Method, Callable[[], Awaitable[object]]]:
    claims = [QueueClaim(QUEUE, BATCH, NOW + 1)]
    token = uuid.uuid4().hex
    changes = [Change(one, replace(one, revision=token)) for one in records]
    return {
        "read": lambda: repository.read([one.ref for one in records]),
        "swap": lambda: repository.swap(changes),
        "look": lambda: repository.look([QUEUE], [records[0].ref]),
        "scan_ready": lambda: repository.scan_ready(QUEUE, limit=BATCH),
        "queues": lambda: repository.queues(after=None, limit=BATCH),
        "count": lambda: repository.count(QUEUE, limit=BATCH),
        "scan": lambda: repository.scan(QUEUE, after=None, limit=BATCH),
        "claim": lambda: repository.claim(claims, now=NOW, limit=BATCH, token=token, holder=token),
        "clock": repository.clock,
    }


def _from_anywhere(scope: anyio.CancelScope) -> Callable[[], None]:
    """A function that cancels the scope from any thread, and returns once the cancelled task has noticed."""
    own_thread = threading.get_ident()
    try:
        import trio

        token = trio.lowlevel.current_trio_token()
    except (ImportError, RuntimeError):  # on asyncio
        return scope.cancel

    def cancel() -> None:
        if threading.get_ident() == own_thread:
            scope.cancel()
            return
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        for _ in range(3):  # rounds of its event loop
            trio.from_thread.run_sync(int, trio_token=token)

    return cancel


async def _files() -> int:
    return len(os.listdir(OPEN_FILES)) if OPEN_FILES else 0


async def _threads() -> int:
    return threading.active_count()
