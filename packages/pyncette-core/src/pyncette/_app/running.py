"""A running app: what ``async with app.create()`` returns."""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import anyio

from pyncette._concurrency.background import background, unwrapped
from pyncette._leases.control import ControlReading
from pyncette._leases.coordinator import Coordinator
from pyncette._leases.history import History
from pyncette._leases.moments import Moments
from pyncette._leases.store import Store
from pyncette._leases.writer import Writer
from pyncette._loop.agenda import Agenda
from pyncette._loop.execution import Executions, Middleware
from pyncette._loop.poller import Poller
from pyncette._loop.renewer import Renewer
from pyncette._loop.waker import Waker
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.task import Task
from pyncette._tasks.worker import Worker
from pyncette._validation.attributes import check_attribute_name
from pyncette._validation.checks import check_count
from pyncette.clock import Clock
from pyncette.executor import Executor
from pyncette.observer import Observers
from pyncette.options import LoopOptions
from pyncette.repository import Repository

from . import health
from .about import default_name, describer, own_version
from .budget import SettleBudget
from .sampling import Sampler
from .scheduling import Scheduling

logger: logging.Logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class PyncetteContext(Scheduling):
    """A running app. Made by :meth:`pyncette.Pyncette.create`.

    :ivar clock: the app's time.
    :ivar threads: limits the worker threads of synchronous task functions.
    """

    _running: bool = False

    def __init__(
        self,
        repository: Repository,
        *,
        tasks: Sequence[Task],
        middlewares: Sequence[Middleware],
        new_context: Callable[[], Any],
        observers: Observers,
        options: LoopOptions,
        poll_interval: datetime.timedelta,
        make_executor: Callable[[], AbstractAsyncContextManager[Executor]],
    ) -> None:
        self.clock: Clock = options.clock
        self.threads: anyio.CapacityLimiter = anyio.CapacityLimiter(options.concurrency_limit)
        self.poll_interval = poll_interval
        self._tasks = tasks
        self._concurrency_limit = options.concurrency_limit
        self._drain_timeout = options.drain_timeout
        self._make_executor = make_executor
        names = {parent.queue.name: task.name for task in tasks for parent in task.queues}
        interval = poll_interval // datetime.timedelta(microseconds=1)
        store = Store(repository, self.clock, observers, names)
        agenda = Agenda(interval, options.batch_size)
        moments = Moments(interval, options.batch_size)
        waker = Waker(agenda, moments, self.clock)
        self._writer = Writer(store, self.clock, on_stored=waker.stored, on_recovered=waker.freed)
        reading = ControlReading(store, self.clock, interval)
        name = self._worker_name = options.worker_name or default_name()
        log = self._history = _log_of(store, repository, options)
        coordinator = Coordinator(store, self._writer, self.clock, observers, moments, reading, name, log, waker.freed)
        super().__init__(store, self._writer, self.clock, reading, name, tasks, observers, options.batch_size)
        self._executions = Executions(coordinator, self.clock, observers, middlewares, new_context, waker.freed)
        self._executions.items["app_context"] = self
        self._active = coordinator.active
        self._partitions = coordinator.partitions
        self._renewer = Renewer(coordinator, self._active, self.clock, observers)
        self._poller = Poller(agenda, waker, coordinator, self._executions, self._renewer, self.clock, observers)
        self._budget = SettleBudget(options.drain_timeout)
        self._register = options.register_worker

    @property
    def last_tick(self) -> datetime.datetime | None:
        """When the last successful pass of the poll loop started, in UTC; None before the first."""
        tick = self._poller.last_tick
        return None if tick is None else to_datetime(tick)

    @property
    def problems(self) -> list[str]:
        """What keeps the app from working, in words; empty if all is well.

        The last successful pass of the poll loop is older than two poll intervals; writes to the storage are overdue;
        an execution is still running more than a ``lease_duration`` after its lease expired; or the storage's clock is
        not known well enough for the shortest lease.
        """
        leases = [task.policies.lease_microseconds for task in self._tasks if task.enabled]
        found = health.problems(
            now=self.clock.now(),
            last_tick=self._poller.last_tick,
            poll_interval=self.poll_interval // datetime.timedelta(microseconds=1),
            overdue=self._writer.overdue,
            clock_error=self.clock.error,
            shortest_lease=min(leases, default=None),
            active=self._active,
        )
        return list(found)

    def add_to_context(self, name: str, value: Any) -> None:
        """Add ``value`` to every execution's context, under ``name``.

        :raises ValueError: the name is reserved or taken.
        """
        check_attribute_name(name, "value")
        if name in self._executions.items:
            raise ValueError(f"The context already has a value or fixture called {name!r}: choose another name.")
        self._executions.items[name] = value

    async def run(self) -> None:
        """Poll and execute until :meth:`shutdown`. Returns when all executions have ended and are settled.

        Cancelling it cancels the executions: they are neither committed nor unlocked, and their leases expire.

        :raises RuntimeError: it is already running.
        """
        self._calls.check_loop("run")
        if self._running:
            raise RuntimeError("run() of this app context is already running: app.create() makes another context.")
        self._running = True
        self._budget.renew()
        try:
            await self._run()
        finally:
            self._running = False

    async def _run(self) -> None:
        tasks = [task for task in self._tasks if task.enabled]
        if len(tasks) == 1:
            logger.info("Running one task.")
        else:
            logger.info("Running %d tasks.", len(tasks))
        if not tasks:
            why = "all are disabled" if self._tasks else "none was declared on this app before app.create()"
            logger.warning("No task will ever run here: %s.", why)
        try:
            async with background() as watch:
                with self._executions.watchdog.watching(), anyio.CancelScope() as scope:
                    watch.start_soon(self._cut_off, scope)
                    watch.start_soon(self._renewer.run, tasks)
                    if self._history is not None:
                        watch.start_soon(self._history.prune, self._registry.prunes)
                    watch.start_soon(self._executions.deadlines.run)
                    watch.start_soon(self._sampler().run, tasks)
                    try:
                        async with unwrapped(self._make_executor()) as executor:
                            limit = getattr(executor, "concurrency_limit", self._concurrency_limit)
                            limit = check_count("concurrency_limit", limit)
                            if self._register:
                                about = self._about(tasks, limit)
                                watch.start_soon(
                                    self._registry.announce,
                                    about,
                                    self._poller.records_are_lost,
                                    self._poller.take_turns,
                                )
                            await self._poller.run(tasks, executor, limit)
                    finally:
                        self._renewer.stop()
        finally:
            if self._register and not self._writer.stopped:
                self._registry.leave()
            await self._settle()
        logger.info("All executions have ended.")

    def _about(self, tasks: Sequence[Task], limit: int) -> Callable[[], Worker]:
        kept = None if self._history is None else self._history.kept
        own = (self, self._worker_name, tasks, limit, self._active)
        return describer(*own, history=kept, observers=self._observers)

    def _sampler(self) -> Sampler:
        own = (self._store, self._writer, self.clock, self._observers, self._reading, self._registry)
        return Sampler(*own, self._listing, self._active)

    async def _cut_off(self, scope: anyio.CancelScope) -> None:
        """Cancel executions that exceed the drain deadline; they give their leases back."""
        if self._drain_timeout is not None:
            await self._poller.stopped.wait()
            await self.clock.wait_until(self.clock.now() + self._drain_timeout // datetime.timedelta(microseconds=1))
            logger.warning("The drain timeout has passed; executions that are cancelled: %d.", len(self._active))
            self._executions.drain_expired = self._writer.hurried = True
            scope.cancel()

    async def _settle(self) -> None:
        with anyio.move_on_after(self._budget.left(), shield=True):
            await self._writer.drained()
        self._writer.hurried = False

    def from_thread(self, func: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a coroutine function of the app, or any other, from another thread, such as that of a plain task
        function.

        ``context.app_context.from_thread(context.app_context.schedule_task, task, "name", interval=…, argument=…)``
        runs it in the app's event loop, and returns or raises what it does.

        :raises RuntimeError: the caller is in the app's event loop: ``await`` it there.
        """
        if threading.get_ident() == self._calls.loop.thread:
            name = getattr(func, "__name__", "it")
            raise RuntimeError(f"from_thread() is for other threads, and this is the app's own: write await {name}(…).")
        return self._calls.loop.run(func, *args, **kwargs)

    def shutdown(self) -> None:
        """Shut down gracefully: stop claiming, let executions finish and settle them; then :meth:`run` returns.

        May be called from any thread, and from a signal handler.
        """
        if self._calls.loop.is_current:
            self._shutdown()
            self._calls.loop.soon(_noop)  # a signal handler doesn't wake the loop by itself
        else:
            self._calls.loop.soon(self._shutdown)

    def _shutdown(self) -> None:
        if not self._poller.stopping:
            logger.info("Shutting down gracefully.")
            self._budget.stopped()
            self._poller.stop()

    @property
    def stopping(self) -> bool:
        """Whether :meth:`shutdown` was called."""
        return self._poller.stopping

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Run the writer until everything is stored. Entered by :meth:`pyncette.Pyncette.create`."""
        if self._register:
            own_version()  # look it up now, before executions would wait for it
        async with background() as group:
            group.start_soon(self._writer.run)
            try:
                yield
            finally:
                self._calls.closed = True
                try:
                    await self._settle()
                finally:  # asyncio's own cancellation ignores shields
                    if lost := self._writer.stop():
                        logger.error(
                            "Writes that the storage did not confirm: %d. The executions they settle will run again.",
                            lost,
                        )


def _noop() -> None: ...


def _log_of(store: Store, repository: Repository, options: LoopOptions) -> History | None:
    """:raises ValueError: a run log is requested, but the storage doesn't support it."""
    if options.history is None:
        return None
    if not repository.keeps_runs:
        raise ValueError(
            "history needs a storage that keeps a log of runs, as SQLite and PostgreSQL do, and this one has none: "
            "leave out history, or choose another storage."
        )
    return History(store, options.clock, options.history, errors_only=options.history_of == "errors")
