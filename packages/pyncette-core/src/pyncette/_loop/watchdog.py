"""Detects a blocked event loop, while it is blocked, and logs which task blocks it."""

from __future__ import annotations

import logging
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

logger: logging.Logger = logging.getLogger(__name__)

BLOCKED = 2.0
"""How many seconds one step of an execution, from one await to the next, may take."""


class Watchdog:
    """Monitors the steps of executions from a separate thread, which a blocked event loop doesn't stop. While nothing
    is executed, the thread sleeps: an idle app would otherwise spend more time waking it than asking the storage.

    :ivar asleep: whether the thread waits for the next step: whoever sets :attr:`step` then has to :meth:`wake` it.
    :ivar step: when the current step began (:func:`time.monotonic`), and the execution's name; None between steps. Set
        by the event loop, read by the thread.
    :ivar closing: whether an execution is being closed.
    """

    def __init__(self) -> None:
        self.asleep = False
        self.closing = False
        self.step: tuple[float, Any] | None = None
        self._loop_thread = 0
        self._woken = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the calling thread for the length of the block."""
        self._loop_thread = threading.get_ident()
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=[over], name=__name__, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            self._woken.set()
            thread.join()

    def wake(self) -> None:
        """Watch again: a step has begun."""
        self.asleep = False
        self._woken.set()

    def _watch(self, over: threading.Event) -> None:
        reported: tuple[float, Any] | None = None
        warn_at = 0.0
        while not over.wait(BLOCKED / 4):
            step = self.step
            if reported is not None and step is not reported:
                seconds = time.monotonic() - reported[0]
                logger.warning("The event loop is free again, %.1f s after %s blocked it.", seconds, reported[1])
                reported = None
            if step is None:
                self._sleep(over)
                continue
            seconds = time.monotonic() - step[0]
            if seconds >= (warn_at if step is reported else BLOCKED):
                reported, warn_at = step, 2 * seconds
                self._warn(step[1], seconds)

    def _sleep(self, over: threading.Event) -> None:
        """Wait until a step begins, or all is over."""
        self._woken.clear()
        self.asleep = True
        # The step may have begun just before `asleep` was set.
        if self.step is None and not over.is_set():
            self._woken.wait()

    def _warn(self, name: Any, seconds: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - documented, in spite of its name
        where = "" if frame is None else f", now at {frame.f_code.co_filename}:{frame.f_lineno}"
        logger.warning(
            "Task %s has been blocking the event loop for %.1f s%s. Nothing else runs in the meantime, not even "
            "heartbeats: await, or make it a plain function, which runs in a thread.",
            name,
            seconds,
            where,
            extra={"task": str(name)},
        )


class Watched(Coroutine[Any, Any, None]):
    """A coroutine that tells the watchdog when each of its steps begins and ends. Unlike an ordinary coroutine, it may
    be dropped without being awaited.

    :param name: its name in the warning.
    """

    __slots__ = ("_body", "_name", "_watchdog")

    def __init__(self, watchdog: Watchdog, name: Any) -> None:
        self._watchdog = watchdog
        self._name = name
        self._body: Coroutine[Any, Any, None] | None = None

    @abstractmethod
    def begin(self) -> Coroutine[Any, Any, None]:
        """Create the coroutine to watch. Called once, when this one is awaited."""

    def __await__(self) -> Generator[Any, Any, None]:
        return self  # awaiting needs an iterator with send, throw and close

    def __iter__(self) -> Watched:
        return self

    def send(self, value: Any = None) -> Any:
        body = self._body
        if body is None:
            body = self._body = self.begin()
        watchdog = self._watchdog
        watchdog.step = (time.monotonic(), self._name)
        if watchdog.asleep:
            watchdog.wake()
        try:
            return body.send(value)
        finally:
            watchdog.step = None

    __next__ = send

    def throw(self, *error: Any) -> Any:
        body = self._body
        if body is None:
            body = self._body = self.begin()
        watchdog = self._watchdog
        watchdog.step = (time.monotonic(), self._name)
        if watchdog.asleep:
            watchdog.wake()
        try:
            return body.throw(*error)
        finally:
            watchdog.step = None

    def close(self) -> None:
        if self._body is None:
            return
        self._watchdog.closing = True
        try:
            self._body.close()
        finally:
            self._watchdog.closing = False
