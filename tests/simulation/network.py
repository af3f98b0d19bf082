"""The network to the storage: requests and replies are delayed, get lost, or arrive when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pyncette.errors import RepositoryUnavailableException
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Swap
from pyncette.testing.faults import FaultyRepository, Method

from .history import Fault, History, Stored
from .loop import Process, current_process
from .world import World

T = TypeVar("T")

Kind = Literal["refused", "lost", "swallowed", "late", "slow"]
"""The fate of a request. ``refused``: it fails immediately without arriving. ``lost``: it is executed, but the reply is
an error. ``swallowed``: it never arrives, which shows after a while. ``late``: it arrives after a while. ``slow``: its
reply does."""

KINDS: tuple[Kind, ...] = ("refused", "lost", "swallowed", "late", "slow")

GIVES_UP = 10.0
"""Seconds after which a driver gives up on a silent connection."""


class SeenRepository(MemoryRepository):
    """The storage. It records the changes that it applies, and for which process."""

    def __init__(self, world: World, history: History) -> None:
        super().__init__()
        self._world = world
        self._history = history
        self.asked_by: Process | None = None
        self.sent_at = 0

    def _swap(self, change: Change) -> Swap:
        swap = super()._swap(change)
        if swap is Swap.APPLIED and self.asked_by is not None:
            seen = Stored(self._world.now, self.asked_by.name, self.sent_at, change.old, change.new, change.run)
            self._history.stored.append(seen)
        return swap


@dataclass(slots=True)
class Trouble:
    """A disturbance of the next ``count`` calls of a method, or of any method if that is empty."""

    kind: Kind
    method: str
    seconds: float
    count: int


class Network(FaultyRepository):
    """The storage as one process reaches it.

    :param latency: the maximum time for a request, and for a reply, in seconds.
    :param tells_time: whether the storage has a clock.
    """

    def __init__(
        self,
        storage: SeenRepository,
        world: World,
        history: History,
        process: Process,
        latency: float,
        *,
        tells_time: bool,
    ) -> None:
        super().__init__(storage)
        self._storage = storage
        self._world = world
        self._history = history
        self._process = process
        self._latency = latency
        self._tells_time = tells_time
        self._trouble: list[Trouble] = []
        self.cut = False
        self.context: Context = copy_context()
        self.context.run(current_process.set, SERVER)

    def trouble(self, trouble: Trouble) -> None:
        """Disturb some of the next calls."""
        self._trouble.append(trouble)

    def recover(self) -> None:
        """Stop disturbing calls."""
        self._trouble.clear()

    async def _call(
        self, method: Method, run: Callable[[], Coroutine[Any, Any, T]], changes: Sequence[Change] = ()
    ) -> T:
        if self.cut:
            await asyncio.sleep(0)
            raise RepositoryUnavailableException("The simulation is over.")
        loop = self._world.loop
        reply: asyncio.Future[T] = loop.create_future()
        before, after = self._delay(), self._delay()
        trouble = self._next_trouble(method)
        if trouble is not None:
            self._felt(trouble)
            if trouble.kind in ("refused", "swallowed"):
                waits = before if trouble.kind == "refused" else min(trouble.seconds, GIVES_UP)
                loop.call_later(waits, _fail, reply, context=self.context)
                return await reply
            if trouble.kind == "late":
                before += trouble.seconds
                if before > GIVES_UP:
                    loop.call_later(GIVES_UP, _fail, reply, context=self.context)
            if trouble.kind == "slow":
                after += trouble.seconds
                if after > GIVES_UP:
                    loop.call_later(GIVES_UP, _fail, reply, context=self.context)
        lost = trouble is not None and trouble.kind == "lost"
        if before:
            loop.call_later(before, self._serve, run, reply, after, lost, self._world.now, context=self.context)
        else:
            loop.call_soon(self._serve, run, reply, after, lost, self._world.now, context=self.context)
        return await reply

    def _serve(
        self,
        run: Callable[[], Coroutine[Any, Any, T]],
        reply: asyncio.Future[T],
        after: float,
        lost: bool,
        sent_at: int,
    ) -> None:
        """Execute a call on the storage's side. It never waits, so it completes in one step."""
        if self.cut:
            return
        self._storage.asked_by, self._storage.sent_at = self._process, sent_at
        call = run()
        try:
            call.send(None)
        except StopIteration as e:
            result: T = e.value
        else:
            raise AssertionError("The storage in memory has waited.")
        finally:
            self._storage.asked_by = None
        loop = self._world.loop
        answer: Callable[..., object] = _fail if lost else _succeed
        arguments: tuple[Any, ...] = (reply,) if lost else (reply, result)
        if after:
            loop.call_later(after, answer, *arguments, context=self.context)
        else:
            answer(*arguments)

    def _delay(self) -> float:
        return self._world.rng.random() * self._latency if self._latency else 0.0

    def _next_trouble(self, method: str) -> Trouble | None:
        for trouble in self._trouble:
            if trouble.method in ("", method):
                trouble.count -= 1
                if not trouble.count:
                    self._trouble.remove(trouble)
                return trouble
        return None

    def _felt(self, trouble: Trouble) -> None:
        """Record that leases are at risk from now until the disturbed call has been repeated after a delay."""
        now = self._world.now
        length = 0 if trouble.kind in ("refused", "lost") else round(trouble.seconds * 1_000_000)
        self._history.faults.append(Fault(now, now + length, self._process.name, trouble.kind))

    async def clock(self) -> int | None:
        async def tell() -> int | None:
            return self._world.now

        return await self._call("clock", tell) if self._tells_time else None


SERVER = Process("storage")


def _succeed(reply: asyncio.Future[T], result: T) -> None:
    if not reply.done():
        reply.set_result(result)


def _fail(reply: asyncio.Future[Any]) -> None:
    if not reply.done():
        reply.set_exception(RepositoryUnavailableException("The storage can't be reached, says the simulation."))
