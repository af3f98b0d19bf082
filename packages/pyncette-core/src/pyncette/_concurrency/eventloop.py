"""Detects the running event loop, and calls into it from other threads."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio.from_thread
import anyio.lowlevel

T = TypeVar("T")


def on_trio() -> bool:
    """Whether the caller runs on trio; otherwise it is asyncio, the only other event loop that anyio supports."""
    if "trio" not in sys.modules:
        return False
    import sniffio  # a dependency of trio

    return sniffio.current_async_library() == "trio"


class EventLoop:
    """The event loop in which the object was created."""

    def __init__(self) -> None:
        self._token = anyio.lowlevel.current_token()
        self.thread: int = threading.get_ident()
        self._tasks: set[Any] = set()  # the loop itself keeps no reference

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in it."""
        if threading.get_ident() != self.thread:
            return False
        try:
            return anyio.lowlevel.current_token() == self._token
        except RuntimeError:  # no event loop
            return False

    def run(self, func: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run a coroutine function from another thread, and wait for its result.

        :raises RuntimeError: the caller is in the loop's own thread, which must not wait, or the loop has ended.
        """
        return anyio.from_thread.run(functools.partial(func, *args, **kwargs), token=self._token)

    def soon(self, func: Callable[[], object]) -> None:
        """Schedule ``func`` to be called in the loop. May be called from any thread, and from a signal handler.

        Nothing happens if the loop has ended.
        """
        loop: Any = self._token.native_token
        try:
            if hasattr(loop, "run_sync_soon"):  # trio's token, which calls it in a task
                loop.run_sync_soon(func)
            else:
                loop.call_soon_threadsafe(self._in_a_task, loop, func)
        except RuntimeError:
            return

    def _in_a_task(self, loop: Any, func: Callable[[], object]) -> None:
        """Run ``func`` in a task, because anyio doesn't detect the event loop in a plain callback of asyncio."""
        task = loop.create_task(_call(func))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _call(func: Callable[[], object]) -> None:
    func()


def loop_name() -> str:
    """The name of the caller's event loop: ``"asyncio"``, ``"uvloop"`` or ``"trio"``."""
    if on_trio():
        return "trio"
    loop: object = anyio.lowlevel.current_token().native_token
    return "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"
