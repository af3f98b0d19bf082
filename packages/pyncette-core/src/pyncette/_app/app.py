"""The application object: declares tasks, fixtures and middlewares, and wires up what runs them."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeVar

from pyncette._config.backends import Factory
from pyncette._config.configuration import Configuration
from pyncette._validation.attributes import check_attribute_name
from pyncette._validation.checks import check_function
from pyncette.clock import Clock, SystemClock
from pyncette.executor import DefaultExecutor
from pyncette.observer import Carrier, Observer, Observers
from pyncette.options import HistoryOf, LoopOptions
from pyncette.repository import Repository

from . import console as entry
from . import duplicates
from .context import Context, FixtureFunc, MiddlewareFunc
from .declaring import Declarations
from .opening import Opening
from .running import PyncetteContext

MiddlewareT = TypeVar("MiddlewareT", bound=MiddlewareFunc)
FixtureT = TypeVar("FixtureT", bound=FixtureFunc)

_NOTHING: Any = None  # a default, for a better error message


class Pyncette(Declarations):
    """A scheduler app.

    :param repository_factory: where tasks are stored: a function such as ``sqlite_repository``, or a URL such as
        ``"redis://localhost"``. By default in memory, and in SQLite if a ``sqlite_*`` option is given.
    :param executor_cls: how executions run; see :mod:`pyncette.executor`.
    :param poll_interval: how long the loop sleeps before it checks the storage for what other processes have scheduled.
        What is due is executed on time, whatever the poll interval.
    :param batch_size: the maximum number of occurrences claimed in one round trip, and of instances listed in a page.
    :param concurrency_limit: the maximum number of executions that run at the same time.
    :param drain_timeout: how long a graceful shutdown waits for executions before it cancels them and gives their
        leases back; None waits until they end.
    :param clock: the source of time; for tests. The system's by default.
    :param worker_name: the name of this process in leases and in the list of workers, up to 100 bytes of UTF-8; host
        name and process id by default.
    :param register_worker: whether this process appears in the list of workers while it runs, and takes turns with
        them.
    :param history: how long the log of runs is kept; None for no log. Needs a storage that supports it. See
        :meth:`PyncetteContext.runs`.
    :param history_of: whether to log ``"all"`` runs, or only ``"errors"``: those that neither succeeded nor were
        skipped.
    :param options: options of the repository (the parameters of its factory) and of the executor.
    :raises TypeError: an option is unknown or missing; nothing is ignored.
    :raises ValueError: an option has an impossible value.
    """

    def __init__(
        self,
        repository_factory: Factory | str | None = None,
        executor_cls: Callable[..., Any] = DefaultExecutor,
        poll_interval: datetime.timedelta = datetime.timedelta(seconds=1),
        *,
        batch_size: int = 100,
        concurrency_limit: int = 100,
        drain_timeout: datetime.timedelta | None = None,
        clock: Clock | None = None,
        worker_name: str | None = None,
        register_worker: bool = True,
        history: datetime.timedelta | None = None,
        history_of: HistoryOf = "all",
        **options: Any,
    ) -> None:
        super().__init__()
        self._configuration = Configuration(
            repository_factory=repository_factory,
            executor_cls=executor_cls,
            poll_interval=poll_interval,
            loop=LoopOptions(
                batch_size=batch_size,
                concurrency_limit=concurrency_limit,
                drain_timeout=drain_timeout,
                clock=SystemClock() if clock is None else clock,
                worker_name=worker_name,
                register_worker=register_worker,
                history=history,
                history_of=history_of,
            ),
            options=options,
        )
        self._fixtures: dict[str, FixtureFunc] = {}
        self._middlewares: list[MiddlewareFunc] = []
        self._observers = Observers()

    def use_fixture(self, fixture_name: str, func: FixtureFunc) -> None:
        """Adds a fixture: an async generator function that takes the app context and yields a value once.

        Fixtures are set up in the order in which they were added, before the first tick, and torn down in reverse after
        the last execution has ended. Each context holds the value under ``fixture_name``.

        :raises ValueError: the name is reserved or taken.
        """
        check_attribute_name(fixture_name, "fixture")
        check_function("fixture", func, "app_context")
        if inspect.iscoroutinefunction(func) or inspect.isgeneratorfunction(func):
            raise TypeError(f"The fixture {fixture_name!r} must be an async generator: async def with one yield in it.")
        if fixture_name in self._fixtures:
            raise ValueError(f"There is a fixture called {fixture_name!r} already: choose another name.")
        self._warn_if_late("fixture", fixture_name)
        self._fixtures[fixture_name] = func

    def fixture(self, name: str | None = None) -> Callable[[FixtureT], FixtureT]:
        """Decorator for :meth:`use_fixture`; the function's name is the default."""
        if callable(name):
            raise TypeError("Write @app.fixture(), with parentheses.")

        def decorate(func: FixtureT) -> FixtureT:
            self.use_fixture(str(name or getattr(func, "__name__", "")), func)
            return func

        return decorate

    def use_middleware(self, func: MiddlewareFunc) -> None:
        """Adds a middleware. Middlewares wrap each execution in the order in which they were added, the first one
        outermost.
        """
        check_function("middleware", func, "context", "next")
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise TypeError(f"The middleware {func!r} must be a coroutine function: write await next(), not yield.")
        self._warn_if_late("middleware", getattr(func, "__name__", "…"))
        self._middlewares.append(func)

    def middleware(self, func: MiddlewareT = _NOTHING) -> MiddlewareT:
        """Decorator for :meth:`use_middleware`, without parentheses."""
        if func is _NOTHING:
            raise TypeError("Write @app.middleware, without parentheses.")
        self.use_middleware(func)
        return func

    def use_observer(self, observer: Observer) -> None:
        """Adds an observer, which receives events about what happens inside.

        :raises TypeError: it does not derive from :class:`pyncette.observer.Observer`, or a method could not be called
            with an event. The message says what to write.
        """
        self._observers.add(observer)

    def use_carrier(self, carrier: Carrier) -> None:
        """Attaches a short text to each instance when it is scheduled, and passes it to its executions.

        Observers receive it when an attempt starts (:attr:`pyncette.events.AttemptStarted.carried`), so that they can
        link an execution to the call that scheduled it: :mod:`pyncette.otel` carries the context of traces in this way.
        Scheduling an instance again without changing it keeps the text of the earlier call.

        :param carrier: called, in the caller's task, whenever an instance is scheduled; may return None. The first 512
            characters of the text are stored. If it raises, the error is logged and it is not called again.
        """
        check_function("carrier", carrier)
        self._observers.carrier = carrier

    def create(
        self,
        *,
        repository_factory: Factory | str | None = None,
        executor_cls: Callable[..., Any] | None = None,
        poll_interval: datetime.timedelta | None = None,
        batch_size: int | None = None,
        concurrency_limit: int | None = None,
        drain_timeout: datetime.timedelta | None = None,
        clock: Clock | None = None,
        worker_name: str | None = None,
        register_worker: bool | None = None,
        history: datetime.timedelta | None = None,
        history_of: HistoryOf | None = None,
        fixtures: bool = True,
        **options: Any,
    ) -> AbstractAsyncContextManager[PyncetteContext]:
        """Opens the storage and sets up the fixtures; ``run()`` of the context starts the loop.

        The parameters are those of :class:`Pyncette`, and override what the app was declared with, so that tests can
        run it as it is, ``app.create(clock=ManualClock(), repository_factory=…)``. Options that belong only to the
        overridden repository factory or executor are ignored.

        :param fixtures: whether to set up the fixtures. A program that only lists and controls tasks needs none.
        :raises TypeError: an option is unknown or missing.
        :raises ValueError: an option has an impossible value, or a task function needs a fixture that the app doesn't
            have.
        :raises RepositoryException: on entering: the storage can't be used; says why.
        """
        configuration = self._configuration.overridden(
            {
                "batch_size": batch_size,
                "concurrency_limit": concurrency_limit,
                "drain_timeout": drain_timeout,
                "clock": clock,
                "worker_name": worker_name,
                "register_worker": register_worker,
                "history": history,
                "history_of": history_of,
            },
            options,
            repository_factory=repository_factory,
            executor_cls=executor_cls,
            poll_interval=poll_interval,
        )
        for task in self.declared:
            if task.arguments is not None:
                task.arguments.resolve(self._fixtures)
        storage = configuration.factory(**configuration.bound.repository)
        return Opening(self._open(configuration, storage, self._fixtures if fixtures else {}))

    @asynccontextmanager
    async def _open(
        self,
        configuration: Configuration,
        storage: AbstractAsyncContextManager[Repository],
        fixtures: Mapping[str, FixtureFunc],
    ) -> AsyncIterator[PyncetteContext]:
        options = configuration.bound
        duplicates.warn(self)
        async with storage as repository:
            context = PyncetteContext(
                repository,
                tasks=self.declared,
                middlewares=tuple(self._middlewares),
                new_context=Context,
                observers=self._observers,
                options=options.loop,
                poll_interval=configuration.poll_interval,
                make_executor=lambda: configuration.executor_cls(**options.executor),
            )
            async with context.storing(), AsyncExitStack() as stack:
                for name, func in fixtures.items():
                    fixture = asynccontextmanager(func)(context)
                    context.add_to_context(name, await stack.enter_async_context(fixture))
                self._opened += 1
                try:
                    yield context
                finally:
                    self._opened -= 1

    def main(self, backend: str = "asyncio", *, log_format: Literal["text", "json"] = "text") -> None:
        """Runs the app as a program, with logging and signal handling, until it is told to stop.

        The first SIGINT, SIGTERM or SIGHUP shuts down gracefully, the second ends the process immediately. The variable
        ``LOG_LEVEL`` sets the level of logging (INFO), ``USE_UVLOOP=1`` chooses uvloop.

        :param backend: ``"asyncio"`` or ``"trio"``.
        :param log_format: ``"text"`` for people; ``"json"`` for programs, one object per line: see
            :class:`pyncette.logs.JsonFormatter`. Existing handlers stay as they are.
        """
        entry.main(self.create, backend, log_format)
