"""Runs a repository whose driver speaks only asyncio for an app that runs on trio.

The repository is opened, used and closed inside one asyncio event loop in a separate thread. Every call crosses to it
once, and back once, without a separate thread: what crosses is a batch, so that the cost of a crossing is shared by
all of its records.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import math
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

from ._concurrency.eventloop import on_trio
from .cancellation import CANCEL_GRACE
from .errors import RepositoryException, RepositoryUnavailableException
from .repository import Repository

logger: logging.Logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_Cross = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Coroutine[Any, Any, Any]]

CLOSE_TIMEOUT = 10.0
"""Seconds that closing the repository may take before it is cancelled."""

OPENS_LATER = "opens_later"
"""The attribute by which a factory is known that checks its options when it is called, and opens nothing."""


def asyncio_only(
    factory: Callable[P, AbstractAsyncContextManager[Repository]],
) -> Callable[P, AbstractAsyncContextManager[Repository]]:
    """Decorates the factory of a repository that runs on asyncio only, so that it works on trio as well.

    On asyncio the repository is the factory's own. On trio it is one that forwards each method call to the real
    one, which lives in an asyncio event loop in a worker thread for as long as the context manager is open. There

    * a cancelled call is cancelled on the other side, and waited for until it has ended, at most
      :data:`CANCEL_GRACE` seconds;
    * exceptions arrive as they were raised, with their traceback;
    * context variables of the caller can be read.

    The repository is closed within :data:`CLOSE_TIMEOUT` plus :data:`CANCEL_GRACE` seconds, even if the driver
    hangs; its thread is then left behind, and does not keep the process alive.

    Factories of repositories that are written with anyio, or with both libraries, need no decorator.

    The factory should check its options when it is called, and open nothing until its result is entered:
    ``Pyncette(…)`` calls it once for that alone, so that a mistake is found before the app runs.
    """

    @functools.wraps(factory)
    def make(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[Repository]:
        return _OnEither(factory(*args, **kwargs))

    vars(make)[OPENS_LATER] = make  # distinguishes it from wrappers that inherit its attributes
    return make


def wrap_inside(
    manager: AbstractAsyncContextManager[Repository],
    wrap: Callable[[AbstractAsyncContextManager[Repository]], AbstractAsyncContextManager[Repository]],
) -> AbstractAsyncContextManager[Repository]:
    """What a factory has made, with ``wrap`` applied where the repository lives: if it is bridged, on its side of the
    bridge. For tests and instruments that have to be near the driver."""
    if isinstance(manager, _OnEither):
        return _OnEither(wrap(manager.manager))
    return wrap(manager)


class _OnEither(AbstractAsyncContextManager[Repository]):
    """Chooses when the repository is opened: the event loop isn't known yet when the factory is called."""

    def __init__(self, manager: AbstractAsyncContextManager[Repository]) -> None:
        self.manager = manager

    async def __aenter__(self) -> Repository:
        if on_trio():
            self.manager = _Bridge(self.manager)
        return await self.manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self.manager.__aexit__(kind, error, traceback)


class _Reply(Generic[T]):
    """A result that the asyncio thread passes to one task on trio."""

    def __init__(self) -> None:
        import trio

        self._arrived = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._given = False
        self._value: T | None = None
        self.error: BaseException | None = None

    def give(self, value: T | None, error: BaseException | None = None) -> None:
        """Called in the asyncio thread; the first result counts."""
        import trio

        with self._lock:
            if self._given:
                return
            self._given, self._value, self.error = True, value, error
        try:
            self._token.run_sync_soon(self._arrived.set)
        except trio.RunFinishedError:
            logger.debug("The event loop that waited for a reply of the repository has ended.")

    async def wait(self, cancel: Callable[[], None]) -> T:
        """Wait for the result.

        :param cancel: called when the waiting task is cancelled. What the other side makes of that counts, as it would
            if there were no bridge: only if it ends as cancelled, or takes too long, the waiting task does so as well.
        """
        import trio

        try:
            await self._arrived.wait()
        except trio.Cancelled:
            cancel()
            if not await self.wait_shielded(CANCEL_GRACE):
                logger.warning("A cancelled call of the repository has not ended after %s s.", CANCEL_GRACE)
                raise
            if isinstance(self.error, asyncio.CancelledError):
                raise
        return self.result()

    async def wait_shielded(self, seconds: float) -> bool:
        """Wait at most ``seconds``, even if cancelled. Returns whether the result has arrived."""
        import trio

        with trio.move_on_after(seconds, shield=True):
            await self._arrived.wait()
        return self._arrived.is_set()

    def result(self) -> T:
        error, self.error = self.error, None
        try:
            if isinstance(error, asyncio.CancelledError):
                raise RepositoryUnavailableException(
                    "The call was cancelled by the repository's driver, or because the repository was closed."
                ) from error
            if error is not None:
                raise error
            return cast(T, self._value)
        finally:
            del error  # breaks the cycle of the exception, its traceback and this frame


class _Crossing(Generic[T]):
    """One call of a repository method. Everything but the reply is only used in the asyncio thread."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.reply = _Reply[T]()
        self.task: asyncio.Task[T] | None = None
        self._cancelled = False
        self._call = call
        self._context = _asyncio_context()

    def start(self, finished: Callable[[_Crossing[T]], object]) -> None:
        def finish(task: asyncio.Task[T]) -> None:
            self.task = None  # breaks a cycle: the traceback of its error will refer to this object
            finished(self)
            if task.cancelled():
                self.reply.give(None, asyncio.CancelledError())
            elif (error := task.exception()) is not None:
                self.reply.give(None, error)
            else:
                self.reply.give(task.result())

        if not self._cancelled:
            self.task = asyncio.get_running_loop().create_task(self._call(), context=self._context)
            self.task.add_done_callback(finish)

    def cancel(self) -> None:
        self._cancelled = True
        if self.task is not None:
            self.task.cancel()
        else:
            self.reply.give(None, asyncio.CancelledError())


class _Bridge(AbstractAsyncContextManager[Repository]):
    """An asyncio event loop in a thread, for one repository that is opened, used and closed in it."""

    def __init__(self, manager: AbstractAsyncContextManager[Repository]) -> None:
        self._manager = manager
        self._body_error: BaseException | None = None
        self._lock = threading.Lock()
        self._crossings: set[_Crossing[Any]] = set()
        self._refusal: str | None = None

    async def __aenter__(self) -> Repository:
        self._running = _Reply[None]()
        self._opened = _Reply[Repository]()
        self._ended = _Reply[bool | None]()
        self._thread = threading.Thread(
            target=self._run, args=(_asyncio_context(),), name="pyncette-repository", daemon=True
        )
        self._thread.start()
        await self._running.wait_shielded(math.inf)
        self._running.result()
        try:
            return _bridged(await self._opened.wait(self._cancel), self.call)
        except BaseException:
            await self._end(within=0)  # it has ended, or has had its time to do so
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        import trio

        # On the repository's side, only asyncio's own exception is a cancellation.
        self._body_error = asyncio.CancelledError() if isinstance(error, trio.Cancelled) else error
        if not await self._end(within=CLOSE_TIMEOUT):
            return None
        raised = self._ended.error
        if raised is not None and (raised is self._body_error or isinstance(raised, asyncio.CancelledError)):
            return None
        return self._ended.result()

    async def call(self, method: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Call a method of the repository on its side."""
        import trio

        await trio.lowlevel.checkpoint_if_cancelled()
        crossing = _Crossing(method)
        with self._lock:
            if self._refusal is not None:
                raise RepositoryException(self._refusal)
            self._crossings.add(crossing)
            self._post(crossing.start, self._crossings.discard)
        return await crossing.reply.wait(lambda: self._post(crossing.cancel))

    def _post(self, callback: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            logger.debug("The repository's event loop has ended already.")

    def _cancel(self) -> None:
        self._post(self._main.cancel)

    async def _end(self, *, within: float) -> bool:
        """Close the repository and end its thread, even if the caller is cancelled.

        :param within: seconds until closing is cancelled.
        :return: False if the thread had to be abandoned.
        """
        with self._lock:
            self._refusal = self._refusal or "The repository is closed."
        self._post(self._closing.set)
        if not await self._ended.wait_shielded(within):
            self._cancel()
            if not await self._ended.wait_shielded(CANCEL_GRACE):
                logger.error("The repository did not close in time; it is left open, together with its thread.")
                return False
        self._thread.join()
        return True

    def _run(self, context: Context) -> None:
        """The thread."""
        suppress: bool | None = None
        error: BaseException | None = None
        try:
            with asyncio.Runner() as runner:
                suppress = runner.run(self._serve(), context=context)
        except BaseException as e:  # noqa: BLE001 - raised again in the waiting tasks
            error = e
        with self._lock:
            if error is not None:
                self._refusal = f"The event loop of the repository has ended: {error!r}"
            left = list(self._crossings)
        for crossing in left:
            lost = RepositoryUnavailableException("The event loop of the repository ended during the call.")
            lost.__cause__ = error
            crossing.reply.give(None, lost)
        self._running.give(None, error)
        self._opened.give(None, error)
        self._ended.give(suppress, error)

    async def _serve(self) -> bool | None:
        self._loop = asyncio.get_running_loop()
        self._main = cast("asyncio.Task[Any]", asyncio.current_task())
        self._closing = asyncio.Event()
        self._running.give(None)
        repository = await self._manager.__aenter__()
        self._opened.give(repository)
        try:
            await self._closing.wait()
        except asyncio.CancelledError as cancelled:  # the caller has stopped waiting, or the event loop is failing
            self._body_error = cancelled
        await self._cancel_crossings()
        error = self._body_error
        if error is None:
            return await self._manager.__aexit__(None, None, None)
        return await self._manager.__aexit__(type(error), error, error.__traceback__)

    async def _cancel_crossings(self) -> None:
        with self._lock:
            self._refusal = self._refusal or "The repository is closed."
            crossings = list(self._crossings)
        tasks = [crossing.task for crossing in crossings if crossing.task is not None]
        for crossing in crossings:
            crossing.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_GRACE)


def _asyncio_context() -> Context:
    """The caller's context, without what it says about the event loop."""
    import sniffio

    context = copy_context()
    context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


class _Forwarding:
    def __init__(self, target: Repository, cross: _Cross) -> None:
        self.target = target
        self.cross = cross
        self.keeps_runs = target.keeps_runs


def _forward(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    @functools.wraps(getattr(Repository, name), updated=())  # without attributes, which mark it as abstract
    async def forward(self: _Forwarding, *args: Any, **kwargs: Any) -> Any:
        return await self.cross(functools.partial(getattr(self.target, name), *args, **kwargs))

    return forward


_METHODS = [
    name
    for name, _ in inspect.getmembers(Repository, inspect.iscoroutinefunction)
    if not name.startswith("_") and name != "within"  # it takes a connection of another event loop
]

_BridgedRepository = type("BridgedRepository", (_Forwarding, Repository), {name: _forward(name) for name in _METHODS})


def _bridged(target: Repository, cross: _Cross) -> Repository:
    """A repository that forwards each method of the interface in one crossing."""
    return cast(Repository, _BridgedRepository(target, cross))
