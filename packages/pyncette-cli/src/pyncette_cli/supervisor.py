"""Runs an app in several processes: starts them, restarts those that end, passes signals on.

The supervisor imports neither the app nor Pyncette. It holds one end of a pipe, whose other end each worker watches:
when the supervisor is gone, however it went, the workers end too.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import Process, TaskGroup, TaskStatus

from .lifeline import Lifeline
from .watching import Watcher

logger: logging.Logger = logging.getLogger(__name__)

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
"""Seconds before a worker that has ended is started again: doubled each time, unless it lived for ``SETTLED``."""

SETTLED = 10.0

MISTAKES = (1, 2, 3, 4)
"""Statuses of a worker that has said what is wrong. The first one would say the same again and again."""

ECHO = 0.2
"""Seconds after the first signal in which another one is the same, as the worker has it too."""

RELOAD = 5.0
"""Seconds that executions get to end when the code has changed."""

AT_ONCE = 2.0
"""Seconds that workers get to end at once, before they are killed."""

STOPPING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@dataclass(slots=True)
class Supervisor:
    """Keeps ``count`` workers running.

    :ivar command: what starts a worker; its number and the lifeline are appended.
    :ivar watcher: says when all of them have to be restarted; those that ended by themselves wait for that. None to
        start them again after a delay.
    """

    command: Sequence[str]
    count: int
    watcher: Watcher | None = None
    lifeline: Lifeline = field(default_factory=Lifeline)
    status: int = 0
    _processes: dict[int, Process] = field(default_factory=dict)
    _stopping: anyio.Event = field(default_factory=anyio.Event)
    _ready: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def run(self) -> int:
        """Until a signal comes; the exit status."""
        async with anyio.create_task_group() as group:
            await group.start(self._watch_signals, group.cancel_scope)
            if self.watcher is not None:
                await self.watcher.look()
                group.start_soon(self._watch_files, self.watcher)
            async with anyio.create_task_group() as slots:
                slots.start_soon(self._keep, 1)
                slots.start_soon(self._start_others, slots)
            group.cancel_scope.cancel()
        return self.status

    async def _start_others(self, slots: TaskGroup) -> None:
        """They wait for the first, so that a mistake in the app or a storage that is missing is reported once."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_when_stopping, group.cancel_scope)
            await self.lifeline.ready()
            self._ready = True
            for number in range(2, self.count + 1):
                slots.start_soon(self._keep, number)
            group.cancel_scope.cancel()

    async def _cancel_when_stopping(self, scope: anyio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()

    async def _keep(self, number: int) -> None:
        """Start a worker again and again, until all are to stop."""
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            began, changed = time.monotonic(), self._changed
            code = await self._live(number)
            lived = time.monotonic() - began
            if self._stopping.is_set():
                return
            if self.watcher is not None:
                if not changed.is_set():
                    logger.error("Worker %d ended, %s; it starts again when a file has changed.", number, how(code))
                    await self._change_or_stop(changed)
                continue
            if not self._ready and code in MISTAKES:
                self.status = code
                self._stop()
                return
            delay = FIRST_DELAY if lived >= SETTLED else delay
            logger.error(
                "Worker %d ended after %.0f s, %s; it starts again in %.0f s.", number, lived, how(code), delay
            )
            with anyio.move_on_after(delay):
                await self._stopping.wait()
            delay = min(delay * 2, LONGEST_DELAY)

    async def _change_or_stop(self, changed: anyio.Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_when_stopping, group.cancel_scope)
            await changed.wait()
            group.cancel_scope.cancel()

    async def _watch_files(self, watcher: Watcher) -> None:
        while True:
            path = await watcher.change()
            logger.info("%s has changed: starting again.", path)
            changed, self._changed = self._changed, anyio.Event()
            changed.set()
            before = list(self._processes.values())
            self._signal(signal.SIGTERM)
            with anyio.move_on_after(RELOAD):
                for process in before:
                    await process.wait()
                continue
            await self._end_at_once(before)

    async def _live(self, number: int) -> int:
        """From the start of a worker to its end; its exit status."""
        descriptors = self.lifeline.descriptors
        process = await anyio.open_process(
            [*self.command, "--supervised", f"{number},{descriptors[0]},{descriptors[1]}"],
            stdin=None,
            stdout=None,
            stderr=None,
            pass_fds=descriptors,
        )
        self._processes[number] = process
        if self._stopping.is_set():  # since it was started
            self._signal(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            del self._processes[number]

    async def _watch_signals(self, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
        first: float | None = None
        with anyio.open_signal_receiver(*STOPPING) as signals:
            task_status.started()
            async for number in signals:
                now = time.monotonic()
                if first is None:
                    first = now
                    logger.info("Stopping %d workers.", len(self._processes))
                    self._stop()
                elif now - first >= ECHO:
                    await self._end_at_once(list(self._processes.values()))
                    self.status = 128 + number
                    scope.cancel()
                    return

    def _stop(self) -> None:
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        _send(self._processes.values(), number)

    async def _end_at_once(self, processes: Sequence[Process]) -> None:
        """To those that were asked to stop."""
        _send(processes, signal.SIGTERM)
        with anyio.move_on_after(AT_ONCE):
            for process in processes:
                await process.wait()
        _send(processes, signal.SIGKILL)


def _send(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in list(processes):
        with suppress(ProcessLookupError):
            process.send_signal(number)


def how(code: int | None) -> str:
    """An exit status in words."""
    if code is None or code >= 0:
        return f"with status {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def worker_command(app_path: str, options: Sequence[str]) -> list[str]:
    """What starts one worker."""
    return [sys.executable, "-m", "pyncette_cli", "run", app_path, *options]
