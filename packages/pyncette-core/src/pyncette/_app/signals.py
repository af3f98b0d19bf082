"""Tells a program to stop: the first signal politely, the second at once."""

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

ECHO = 0.2
"""Seconds after the first signal in which another one is the same: ``timeout`` and some terminals signal both the
process and its group."""


class StopSignals:
    """Handles SIGINT, SIGTERM and SIGHUP while it is entered. SIGHUP stays ignored where it is.

    The handlers are Python's own rather than an event loop's: they stand before the loop starts (a process with the
    id 1, as in a container, would ignore the signals until then), and the second signal ends the process even if a
    task blocks the loop. A socket carries the first one into whichever loop runs.
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
                continue  # nohup means it
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
        """Return as soon as the first signal has come."""
        await anyio.wait_readable(self._receiver)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None and now - self._first < ECHO:
            return
        if self._first is not None:
            # Not by way of logging, whose locks the interrupted code may hold.
            os.write(sys.stderr.fileno(), b"Terminating at once.\n")
            os._exit(128 + number)
        self._first = now
        self._sender.send(b"\0")
