"""A deadline around every test of the suite, with a message that names what did not return."""

from __future__ import annotations

import faulthandler
import functools
import inspect
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

_T = TypeVar("_T")

GRACE = 15.0
"""Seconds that a test may take to end after its deadline has cancelled it. Then its process is ended."""
LONGEST_CHAIN = 200
UNKNOWN = "  the event loop does not answer: see the stacks of all threads.\n"
PLUMBING = ("anyio", "asyncio", "contextlib", "trio")


class HangError(AssertionError):
    """Something did not return in time."""


async def within(seconds: float, what: str, call: Callable[[], Awaitable[_T]]) -> _T:
    """Await the call for at most this many seconds.

    :raises HangError: it took longer; the message names every call that was still being awaited.
    """
    ended = anyio.Event()
    waiting: list[str] = []
    results: list[_T] = []
    errors: list[BaseException] = []

    async def watch() -> None:
        with anyio.move_on_after(seconds):
            await ended.wait()
            return
        waiting.extend(pending(besides=anyio.get_current_task().id) or ["nothing that is known"])
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, name="deadline of the contract suite")
        try:
            results.append(await call())
        except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:  # noqa: BLE001 - raised again outside the group
            errors.append(error)
        finally:
            ended.set()
    if waiting:
        raise HangError(
            f"{what} did not end within {seconds:g} s. What had not returned:\n  " + "\n  ".join(waiting)
        ) from next(iter(errors), None)
    if errors:
        raise errors[0]
    return results[0]


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The test with a deadline of its class's ``deadline`` seconds."""

    @functools.wraps(test)
    async def run(self: Any, *args: Any, **fixtures: Any) -> None:
        await within(self.deadline, test.__qualname__, functools.partial(test, self, *args, **fixtures))

    return run


def bound_tests(cls: type) -> None:
    """Give each test that the class itself defines its deadline."""
    for name, test in list(vars(cls).items()):
        if name.startswith("test_") and inspect.iscoroutinefunction(test):
            setattr(cls, name, bounded(test))


class Watchdog:
    """Ends the process when a test, or the opening or closing of its fixtures, ends neither in time nor by being
    cancelled: for what blocks the event loop, and for what continues when it is cancelled.

    """

    def __init__(self, seconds: float, what: str, config: pytest.Config) -> None:
        self._token: Any = None
        self._waiting: list[str] = []
        self._seconds = seconds
        self._what = what
        self._config = config

    @contextmanager
    def watching(self) -> Iterator[None]:
        timer = threading.Timer(self._seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Wraps the opening of a repository. From then on, the event loop is known."""
        self._token = anyio.lowlevel.current_token()
        self._waiting.append("the opening of a repository")
        yield
        self._waiting.clear()

    def _end(self) -> None:
        asking = threading.Thread(target=self._ask, daemon=True)
        asking.start()
        asking.join(5)
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend_global_capture(in_=True)
        names = "".join(f"  {name}\n" for name in self._waiting)
        sys.stderr.write(
            f"\n{self._what} did not end within {self._seconds:g} s, though it was cancelled: something blocks the "
            f"event loop, or continues when it is cancelled. What had not returned:\n{names or UNKNOWN}"
        )
        sys.stderr.flush()
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        os._exit(pytest.ExitCode.INTERNAL_ERROR)

    def _ask(self) -> None:
        if self._token is not None:
            self._waiting += anyio.from_thread.run_sync(pending, token=self._token)


def pending(*, besides: int | None = None) -> list[str]:
    """What the tasks of this event loop wait for: for each its innermost call of a repository or of its factory, else
    its innermost call of all.

    :param besides: the id of a task that does not count.
    """
    chains = [list(_chain(task.coro)) for task in anyio.get_running_tasks() if task.id != besides]
    return sorted({described for chain in chains if (described := _described(chain))})


def _chain(awaited: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, the outermost first."""
    for _ in range(LONGEST_CHAIN):
        kind = next((kind for kind in ("cr", "gi", "ag") if getattr(awaited, f"{kind}_frame", None)), None)
        if kind is None:
            return
        frame: FrameType = getattr(awaited, f"{kind}_frame")
        yield frame
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
        if frame.f_code.co_name in ("__aenter__", "__aexit__"):  # contextlib's: its generator is what waits
            awaited = getattr(frame.f_locals.get("self"), "gen", awaited)


def _is_plumbing(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    return name.partition(".")[0] in PLUMBING or name == __name__


def _described(chain: list[FrameType]) -> str | None:
    """None for what belongs to the event loop."""
    from pyncette.repository import Repository

    for frame in reversed(chain):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Repository) and not frame.f_code.co_name.startswith("_"):
            return f"{type(owner).__name__}.{frame.f_code.co_name}(), called at {_caller(chain, frame)}"
    ours = [frame for frame in chain if not _is_plumbing(frame)]
    return f"{ours[-1].f_code.co_qualname}(), called at {_caller(ours, ours[-1])}" if ours else None


def _caller(chain: list[FrameType], frame: FrameType) -> str:
    """Where it was called, or its own position if a task began with it."""
    caller = chain[max(chain.index(frame) - 1, 0)]
    return f"{os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno}"
