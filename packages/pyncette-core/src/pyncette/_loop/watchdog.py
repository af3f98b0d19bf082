"""Notices an event loop that is blocked, while it is, and says which task blocks it."""

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
"""Seconds that one step of an execution, from one await to the next, may take."""


class Watchdog:
    """Looks at the steps of executions from a separate thread, which a blocked event loop can't keep from that.

    :ivar step: the execution that is between two awaits, with the time of :func:`time.monotonic` at which it continued;
        None while there is none. Set by the event loop, read by the thread.
    :ivar closing: whether an execution is being closed, rather than continuing.
    """

    def __init__(self) -> None:
        self.closing = False
        self.step: tuple[float, Any] | None = None
        self._loop_thread = 0

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
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        said: tuple[float, Any] | None = None
        warn_at = 0.0
        while not over.wait(BLOCKED / 4):
            step = self.step
            if said is not None and step is not said:
                seconds = time.monotonic() - said[0]
                logger.warning("The event loop is free again, %.1f s after %s blocked it.", seconds, said[1])
                said = None
            if step is None:
                continue
            seconds = time.monotonic() - step[0]
            if seconds >= (warn_at if step is said else BLOCKED):
                said, warn_at = step, 2 * seconds
                self._warn(step[1], seconds)

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
    """A coroutine that lets the watchdog know when it is between two awaits. Unlike others it may be dropped without
    ever being awaited.

    :param name: what the warning calls it.
    """

    __slots__ = ("_body", "_name", "_watchdog")

    def __init__(self, watchdog: Watchdog, name: Any) -> None:
        self._watchdog = watchdog
        self._name = name
        self._body: Coroutine[Any, Any, None] | None = None

    @abstractmethod
    def begin(self) -> Coroutine[Any, Any, None]:
        """What is watched. Called once, when it is awaited."""

    def __await__(self) -> Generator[Any, Any, None]:
        return self  # an iterator with send, throw and close is what awaiting needs

    def __iter__(self) -> Watched:
        return self

    def send(self, value: Any = None) -> Any:
        body = self._body
        if body is None:
            body = self._body = self.begin()
        self._watchdog.step = (time.monotonic(), self._name)
        try:
            return body.send(value)
        finally:
            self._watchdog.step = None

    __next__ = send

    def throw(self, *error: Any) -> Any:
        body = self._body
        if body is None:
            body = self._body = self.begin()
        self._watchdog.step = (time.monotonic(), self._name)
        try:
            return body.throw(*error)
        finally:
            self._watchdog.step = None

    def close(self) -> None:
        if self._body is None:
            return
        self._watchdog.closing = True
        try:
            self._body.close()
        finally:
            self._watchdog.closing = False
