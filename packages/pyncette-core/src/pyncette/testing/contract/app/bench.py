"""Runs apps in virtual time and records what they execute."""

from __future__ import annotations

import datetime
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from pyncette import Context, Pyncette, PyncetteContext, Task, lease
from pyncette.record import Band, Change, Record
from pyncette.repository import Repository
from pyncette.testing.clock import ManualClock
from pyncette.testing.contract.base import APPLIED, ContractBase, Factory, fresh

from .catching_up import CaughtUpRepository, catching_up

START = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
"""A Monday, midnight. Tests count in seconds from here."""

TIMEOUT = 60
"""Real seconds after which an app that doesn't become idle counts as stuck."""


def moment(seconds: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=seconds)


def seconds(when: datetime.datetime | None) -> float | None:
    return None if when is None else (when - START).total_seconds()


def duration(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution that began.

    :ivar name: canonical name of the task.
    :ivar due: ``scheduled_at``, in seconds from START.
    :ivar at: when it began.
    """

    name: str
    due: float
    at: float
    token: int
    args: dict[str, Any]


@dataclass
class Log:
    """Records executions. Its methods serve as task functions."""

    clock: ManualClock
    runs: list[Run] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    ended: int = 0

    def begin(self, context: Context) -> None:
        due, at = seconds(context.scheduled_at), seconds(self.clock.time)
        assert due is not None
        assert at is not None
        self.runs.append(Run(context.task.canonical_name, due, at, context.fencing_token, context.args))

    async def note(self, context: Context) -> None:
        """A task that does nothing else."""
        self.begin(context)

    async def fail(self, context: Context) -> None:
        """A task that fails."""
        self.begin(context)
        raise RuntimeError("The task fails, says the test.")

    def lasting(self, seconds: float) -> Callable[[Context], Any]:
        """A task that takes this many seconds."""

        async def last(context: Context) -> None:
            self.begin(context)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                await self.clock.sleep(seconds)
            finally:
                self.running -= 1
            self.ended += 1

        return last

    def failing(self, times: int) -> Callable[[Context], Any]:
        """A task that fails this many times, and then succeeds."""
        left = iter(range(times))

        async def fail(context: Context) -> None:
            self.begin(context)
            if next(left, None) is not None:
                raise RuntimeError("The task fails, says the test.")

        return fail

    def of(self, task: Task | str | None) -> list[Run]:
        name = task.canonical_name if isinstance(task, Task) else task
        return [run for run in self.runs if name is None or run.name == name]

    def due(self, task: Task | str | None = None) -> list[float]:
        """The occurrences that were executed, in the order of execution."""
        return [run.due for run in self.of(task)]

    def at(self, task: Task | str | None = None) -> list[float]:
        """When they were executed."""
        return [run.at for run in self.of(task)]

    def names(self) -> list[str]:
        return [run.name for run in self.runs]


class Worker:
    """A running app.

    :ivar context: the app context.
    """

    def __init__(self, context: PyncetteContext) -> None:
        self.context = context
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    @property
    def ended(self) -> bool:
        """Whether ``run()`` has returned or was killed."""
        return self._ended.is_set()

    async def work(self) -> None:
        with self._scope:
            await self.context.run()
        self._ended.set()

    async def kill(self) -> None:
        """Cancel ``run()``: whatever it executes is neither committed nor unlocked."""
        self._scope.cancel()
        await self._ended.wait()


class Bench:
    """One storage, one clock, and the apps on them.

    :ivar log: what is executed.
    """

    def __init__(self, factory: Factory, repository: Repository) -> None:
        self.factory = factory
        self.repository = repository
        self.clock: ManualClock = ManualClock(START)
        self.log: Log = Log(self.clock)

    def app(self, **options: Any) -> Pyncette:
        """An app on this storage and clock."""
        given = {"repository_factory": self.factory, "clock": self.clock, "register_worker": False, **options}
        return Pyncette(**given)

    @asynccontextmanager
    async def running(self, app: Pyncette) -> AsyncIterator[Worker]:
        """Runs the app within the block. Executions that are still running at the end are cancelled."""
        async with app.create() as context:
            worker = Worker(context)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.work)
                await self.settle()
                yield worker
                context.shutdown()
                await self.settle()
                tasks.cancel_scope.cancel()

    async def run_and_kill(self, app: Pyncette, *, at: float) -> None:
        """Run the app until second ``at``, when its worker dies."""
        async with self.running(app) as worker:
            await self.advance_to(at)
            await worker.kill()

    async def advance(self, by: float) -> None:
        """Let this many seconds pass."""
        with self._within_the_timeout():
            await self.clock.advance(duration(by))

    async def advance_to(self, second: float) -> None:
        now = seconds(self.clock.time)
        assert now is not None
        await self.advance(second - now)

    async def settle(self) -> None:
        with self._within_the_timeout():
            await self.clock.settle()

    @contextmanager
    def _within_the_timeout(self) -> Iterator[None]:
        """Limit the block to ``TIMEOUT``. The error distinguishes a busy machine from a loop without a pause."""
        began = time.process_time()
        try:
            with anyio.fail_after(TIMEOUT):
                yield
        except TimeoutError as e:
            raise TimeoutError(
                f"The app was not idle again within {TIMEOUT} s. It used the processor for "
                f"{time.process_time() - began:.1f} s, and its clock stands at {seconds(self.clock.time)} s."
            ) from e

    async def damage(self, task: Task, spec: str) -> Record:
        """Overwrite the record of a static task or an instance. Returns the new record."""
        whole = await self.stored(task)
        assert whole is not None
        broken = replace(whole, revision=fresh(), spec=spec)
        assert await self.repository.swap([Change(whole, broken)]) == [APPLIED]
        return broken

    async def hold(self, task: Task, band: Band, *, moment: int) -> Record:
        """Hold an instance in a band. Returns the new record."""
        whole = await self.stored(task)
        assert whole is not None
        change = lease.hold(whole, band, moment=self.clock.now() + moment * 1_000_000, revision=fresh())
        assert await self.repository.swap([change]) == [APPLIED]
        assert change.new is not None
        return change.new

    async def stored(self, task: Task) -> Record | None:
        """The record of a static task or an instance."""
        with self.clock.busy(changes=False):  # tasks call this, too, while time is being advanced
            (found,) = await self.repository.read([task.ref])
        return found


class AppBase(ContractBase):
    """The fixture of all app tests."""

    @pytest.fixture
    def bench(self, repository: Repository, repository_factory: Factory) -> Bench:
        """Apps on separate clients, if the storage can be shared."""

        def same() -> AbstractAsyncContextManager[Repository]:
            return nullcontext(repository)

        factory = repository_factory if self.capabilities.shared else same
        if not self.capabilities.immediate_index:
            factory = catching_up(factory, self.capabilities.index_lag)
            repository = CaughtUpRepository(repository, self.capabilities.index_lag)
        return Bench(factory, repository)
