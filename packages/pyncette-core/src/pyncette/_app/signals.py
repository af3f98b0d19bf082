"""Stops a program on signals: gracefully on the first one, immediately on the second."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

import anyio

HANGUP: int | None = getattr(signal, "SIGHUP", None)  # there is none on Windows
SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.Signals(HANGUP)] if HANGUP else [])]

DUPLICATE_WITHIN = 0.2
"""Seconds after the first signal during which another one counts as a duplicate: ``timeout`` and some terminals signal
both the process and its group."""


class StopSignals:
    """Handles SIGINT, SIGTERM and SIGHUP while it is entered. If SIGHUP is ignored, it stays so.

    The handlers are Python's own, not an event loop's. So they are in place before the loop starts (until then, a
    process with the id 1, as in a container, would ignore the signals), and the second signal ends the process even if
    a task blocks the loop. A socket passes the first signal to whichever event loop is running.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Signals arrive only in the main thread: handle them there, and await run() elsewhere.")
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        for number in SIGNALS:
            if number == HANGUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # as set by nohup
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._receiver.close()
        self._sender.close()

    async def wait(self) -> None:
        """Return as soon as the first signal has arrived."""
        await anyio.wait_readable(self._receiver)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None and now - self._first < DUPLICATE_WITHIN:
            return
        if self._first is not None:
            # Without logging, because the interrupted code may hold its locks.
            os.write(sys.stderr.fileno(), b"Terminating at once.\n")
            os._exit(128 + number)
        self._first = now
        self._sender.send(b"\0")
