"""An event loop in virtual time, in which a seed decides what runs next.

All processes of a simulation share it, and each has its own queue of ready callbacks, which run in order, or shuffled
if requested. Which process runs next is random. A suspended process keeps its queue; a killed one loses it. Time
advances when nothing is ready.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio.events import Handle, TimerHandle
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

MOST_STEPS = 3_000_000
"""A simulation that takes more steps is considered endless."""

Callback = Callable[..., object]


class Process:
    """A simulated process: a worker, an operator, or the storage.

    :ivar ready: the callbacks to run next.
    :ivar frozen_until: the virtual time in seconds until which it is suspended.
    :ivar dead: whether it was killed: none of its code runs again, not even clean-up.
    :ivar shuffled: whether its tasks continue in a random order, rather than first come, first served.
    :ivar ahead: microseconds by which its machine's clock is ahead of the true time.
    :ivar drift: the fraction by which its monotonic clock is too fast.
    """

    def __init__(self, name: str, *, shuffled: bool = False) -> None:
        self.name = name
        self.ready: list[Handle] = []
        self.frozen_until = 0.0
        self.dead = False
        self.shuffled = shuffled
        self.ahead = 0
        self.drift = 0.0

    def __repr__(self) -> str:
        return self.name


NOBODY = Process("nobody")
current_process: ContextVar[Process] = ContextVar("current_process", default=NOBODY)


class SimulatedTask(asyncio.Task[Any]):
    """A task whose hash is not derived from its address. Tasks are kept in sets, whose order follows from the hash, and
    must be the same when a run is repeated."""

    numbers = iter(range(1 << 62))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.number = next(self.numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self.number


def _new_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **kwargs: Any) -> SimulatedTask:
    kwargs.pop("eager_start", None)
    return SimulatedTask(coroutine, loop=loop, **kwargs)


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop.

    :param rng: decides everything.
    :ivar errors: errors raised by callbacks, or by tasks whose result nobody has retrieved.
    :ivar steps: the number of callbacks that were run.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._random = rng.random
        self._now = 0.0
        self._timers: list[tuple[float, float, int, TimerHandle]] = []
        self._number = 0
        self._busy: list[Process] = []  # the processes with something ready
        self.errors: list[str] = []
        self.steps = 0
        # The protocol doesn't support generic tasks.
        self.set_task_factory(_new_task)  # type: ignore[arg-type]
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self._now

    # Typeshed ties the arguments to the callback.
    def call_soon(self, callback: Callback, *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        handle = Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    # There is one thread.
    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    # Typeshed ties the arguments to the callback.
    def call_later(self, delay: float, callback: Callback, *args: Any, context: Context | None = None) -> TimerHandle:  # type: ignore[override]
        return self.call_at(self._now + delay, callback, *args, context=context)

    # Typeshed ties the arguments to the callback.
    def call_at(self, when: float, callback: Callback, *args: Any, context: Context | None = None) -> TimerHandle:  # type: ignore[override]
        timer = TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._random(), self._number, timer))
        return timer

    def freeze(self, process: Process, seconds: float) -> None:
        """Suspend a process for a while."""
        process.frozen_until = max(process.frozen_until, self._now + seconds)

    def kill(self, process: Process) -> None:
        """Kill a process: none of its code runs again, until :meth:`bury`."""
        process.dead = True
        if process in self._busy:
            self._busy.remove(process)

    def bury(self, process: Process) -> None:
        """After the simulation, let a killed process run again, so that it can be cancelled."""
        process.frozen_until = 0.0
        if process.dead:
            process.dead = False
            if process.ready:
                self._busy.append(process)

    def _enqueue(self, handle: Handle) -> None:
        # Not in typeshed, as it is private.
        process: Process = handle._context.get(current_process, NOBODY)  # type: ignore[attr-defined]
        if not process.ready and not process.dead:
            self._busy.append(process)
        process.ready.append(handle)

    def _run_once(self) -> None:
        """Run until the loop is stopped, as the caller would check that after each step."""
        chance, busy = self._random, self._busy
        # As above.
        while not self._stopping:  # type: ignore[attr-defined]
            if self._timers and self._timers[0][0] <= self._now:
                self._fire()
            awake = busy
            if any(process.frozen_until > self._now for process in busy):
                awake = [process for process in busy if process.frozen_until <= self._now]
            if not awake:
                self._advance()
                continue
            process = awake[int(chance() * len(awake))] if len(awake) > 1 else awake[0]
            ready = process.ready
            at = int(chance() * len(ready)) if process.shuffled and len(ready) > 1 else 0
            handle = ready.pop(at)
            if not ready:
                busy.remove(process)
            if not handle.cancelled():
                self.steps += 1
                if self.steps > MOST_STEPS:
                    raise RuntimeError("The simulation does not come to an end.")
                handle._run()

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            timer = heapq.heappop(self._timers)[3]
            if not timer.cancelled():
                self._enqueue(timer)

    def _advance(self) -> None:
        """Advance the time to the next timer."""
        while self._timers and self._timers[0][3].cancelled():
            heapq.heappop(self._timers)
        moments = [process.frozen_until for process in self._busy]
        if self._timers:
            moments.append(self._timers[0][0])
        if not moments:
            raise RuntimeError("Everybody waits forever.")
        self._now = max(self._now, min(moments))

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        """A cancelled timer stays in place, and is skipped when it expires."""

    def _process_events(self, event_list: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context['message']}: {context.get('exception')!r}")
