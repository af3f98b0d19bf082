"""Faults for tests: a repository that fails, loses replies, delays, refuses or gets cancelled, as scripted.

A fault is an async function that is called in place of a repository's method. It decides whether and when the method
itself runs, so a fault of one's own is a few lines:

.. code-block:: python

    async def twice(call: Call) -> Any:
        await call()
        return await call()
"""

from __future__ import annotations

import functools
import types
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import anyio

from pyncette.errors import RecordRefusedException, RepositoryUnavailableException
from pyncette.findings import Finding
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap
from pyncette.repository import Repository

_T = TypeVar("_T")

Method = Literal[
    "read", "swap", "look", "scan", "scan_ready", "queues", "count", "claim", "clock", "runs", "prune_runs", "diagnose"
]
METHODS: tuple[Method, ...] = ("read", "swap", "look", "scan", "scan_ready", "queues", "count", "claim", "clock")
"""The methods that every store has."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a repository's method that has not happened yet; call it to let it happen.

    :ivar changes: what a ``swap`` is asked to change; empty for the other methods.
    """

    method: Method
    run: Callable[[], Coroutine[Any, Any, Any]]
    changes: Sequence[Change] = ()

    async def __call__(self) -> Any:
        return await self.run()


Fault = Callable[[Call], Awaitable[Any]]


def unavailable() -> Exception:
    return RepositoryUnavailableException("The storage can't be reached, says the test.")


def fail(error: Callable[[], Exception] = unavailable) -> Fault:
    """The request never arrives: nothing is read or written, and the caller gets ``error()``."""

    async def fault(call: Call) -> Any:
        await anyio.lowlevel.checkpoint()
        raise error()

    return fault


def lose_reply(error: Callable[[], Exception] = unavailable) -> Fault:
    """The request is carried out, but the caller gets ``error()``."""

    async def fault(call: Call) -> Any:
        await call()
        raise error()

    return fault


def delay(*, before: float = 0, after: float = 0) -> Fault:
    """The request arrives ``before`` seconds late, its reply ``after`` seconds late. Seconds of the event loop."""

    async def fault(call: Call) -> Any:
        await anyio.sleep(before)
        result = await call()
        await anyio.sleep(after)
        return result

    return fault


def refuse(culprit: Callable[[Record], bool]) -> Fault:
    """A ``swap`` with a new record that is a ``culprit`` is refused and changes nothing."""

    async def fault(call: Call) -> Any:
        for change in call.changes:
            if change.new is not None and culprit(change.new):
                raise RecordRefusedException(f"The record {change.new.key!r} is refused, says the test.")
        return await call()

    return fault


def cancel_at(checkpoint: int, scope: anyio.CancelScope) -> Fault:
    """``scope`` is cancelled when the method waits for the ``checkpoint``-th time, counted from 1."""

    async def fault(call: Call) -> Any:
        return await at_checkpoint(checkpoint, scope.cancel, call.run())

    return fault


class FaultPlan:
    """Which faults happen when. One plan can serve several repositories, which then share it.

    :ivar calls: how often each method was called.
    """

    def __init__(self) -> None:
        self.calls: Counter[Method] = Counter()
        self._scripted: defaultdict[Method, deque[Fault | None]] = defaultdict(deque)
        self._standing: dict[Method, Fault] = {}

    def script(self, method: Method, *faults: Fault | None) -> None:
        """The next calls of ``method`` meet these faults, one each; None is a call without one."""
        self._scripted[method] += faults

    def always(self, fault: Fault, *methods: Method) -> None:
        """All calls of ``methods`` (of every method, if none is named) meet ``fault``, unless one is scripted."""
        self._standing.update(dict.fromkeys(methods or get_args(Method), fault))

    def clear(self) -> None:
        """No more faults."""
        self._scripted.clear()
        self._standing.clear()

    def wrap(
        self, factory: Callable[..., AbstractAsyncContextManager[Repository]]
    ) -> Callable[..., AbstractAsyncContextManager[Repository]]:
        """A repository factory with the options of ``factory``, whose repositories meet the faults of this plan."""

        @functools.wraps(factory)
        @asynccontextmanager
        async def faulty(*args: Any, **options: Any) -> AsyncIterator[Repository]:
            async with factory(*args, **options) as repository:
                yield FaultyRepository(repository, self)

        return faulty

    async def meet(self, call: Call) -> Any:
        """Run ``call`` with the fault that is planned for it."""
        self.calls[call.method] += 1
        scripted = self._scripted[call.method]
        fault = scripted.popleft() if scripted else self._standing.get(call.method)
        return await (call() if fault is None else fault(call))


class FaultyRepository(Repository):
    """Passes every call on to another repository, unless the plan has a fault for it.

    :param plan: a new one if not given; also the attribute ``plan``.
    """

    def __init__(self, repository: Repository, plan: FaultPlan | None = None) -> None:
        self._inner = repository
        self.keeps_runs: bool = repository.keeps_runs
        self.plan: FaultPlan = plan or FaultPlan()

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        return await self._call("read", lambda: self._inner.read(refs))

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await self._call("swap", lambda: self._inner.swap(changes), changes)

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        return await self._call("look", lambda: self._inner.look(queues, refs, after=after, until=until, limit=limit))

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        return await self._call("scan", lambda: self._inner.scan(queue, after=after, limit=limit, prefix=prefix))

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        return await self._call(
            "scan_ready", lambda: self._inner.scan_ready(queue, since=since, before=before, after=after, limit=limit)
        )

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        return await self._call("queues", lambda: self._inner.queues(after=after, limit=limit))

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        return await self._call("count", lambda: self._inner.count(queue, since=since, before=before, limit=limit))

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        return await self._call(
            "claim", lambda: self._inner.claim(claims, now=now, limit=limit, token=token, holder=holder)
        )

    async def clock(self) -> int | None:
        return await self._call("clock", self._inner.clock)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        return await self._call("runs", lambda: self._inner.runs(question))

    async def prune_runs(self, *, before: int, limit: int) -> int:
        return await self._call("prune_runs", lambda: self._inner.prune_runs(before=before, limit=limit))

    async def within(self, connection: Any) -> Repository:
        """Meets the faults of the same plan."""
        return FaultyRepository(await self._inner.within(connection), self.plan)

    async def diagnose(self) -> list[Finding]:
        return await self._call("diagnose", self._inner.diagnose)

    async def _call(
        self, method: Method, run: Callable[[], Coroutine[Any, Any, _T]], changes: Sequence[Change] = ()
    ) -> _T:
        result: _T = await self.plan.meet(Call(method, run, changes))
        return result


@types.coroutine
def at_checkpoint(
    checkpoint: int, action: Callable[[], None], coroutine: Coroutine[Any, Any, _T]
) -> Generator[Any, Any, _T]:
    """Await ``coroutine``, and call ``action`` when it waits for the ``checkpoint``-th time, counted from 1."""
    resume: Callable[[Any], Any] = coroutine.send
    value: Any = None
    waits = 0
    while True:
        try:
            awaited = resume(value)
        except StopIteration as end:
            result: _T = end.value
            return result
        waits += 1
        if waits == checkpoint:
            action()
        try:
            value = yield awaited
            resume = coroutine.send
        except BaseException as error:  # noqa: BLE001 - thrown into the coroutine
            value = error
            resume = coroutine.throw
