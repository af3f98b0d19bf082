"""What a task function, a middleware and a fixture get to see."""

from __future__ import annotations

import datetime
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pyncette._leases.held import HeldLease
from pyncette._loop.deadlines import extend, remaining
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.state import latest_runs
from pyncette._tasks.task import Task
from pyncette.events import Trigger

from .running import PyncetteContext

if TYPE_CHECKING:
    from functools import cached_property as lazy
else:

    class lazy:  # noqa: N801 - a decorator
        """Like :func:`functools.cached_property`, which takes a lock on Python 3.11 and is four times slower."""

        def __init__(self, make):
            self.make = make
            self.__doc__ = make.__doc__

        def __get__(self, context, owner=None):
            if context is None:
                return self
            value = vars(context)[self.make.__name__] = self.make(context)
            return value


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """How a run ended.

    :ivar outcome: a :data:`pyncette.events.RunOutcome`, or ``"running"`` for an at-most-once run that is still under
        way.
    :ivar scheduled_at: the occurrence, in the task's timezone.
    :ivar ended_at: in UTC; None if that is not known.
    """

    outcome: str
    scheduled_at: datetime.datetime
    ended_at: datetime.datetime | None


class Context:
    """One execution of one occurrence. Each fixture is an attribute; middlewares may set further ones.

    :ivar app_context: the running app.
    :ivar task: the task or instance that is executed.
    :ivar scheduled_at: the occurrence, in the task's timezone.
    :ivar args: the task's arguments; each execution has its own copy.
    :ivar fencing_token: grows with every claim of the instance. Another system that remembers the highest token it has
        seen can refuse writes from a worker that has lost its lease but doesn't know it yet.
    :ivar attempt: the number of this attempt in the run, from 1; lost and cancelled attempts count too.
    :ivar trigger: what caused the run.
    :ivar run_id: the id of a manual or backfill run, None for a scheduled one.
    :ivar heartbeat: coroutine function that prolongs the lease by the task's ``lease_duration`` from now; does nothing
        in at-most-once tasks. Raises :class:`~pyncette.errors.LeaseLostException` once another worker may have claimed
        the occurrence, and :class:`~pyncette.errors.RepositoryException` if the storage could not be reached.
    """

    app_context: PyncetteContext
    task: Task
    args: dict[str, Any]
    fencing_token: int
    attempt: int
    trigger: Trigger = "schedule"
    run_id: str | None = None

    _lease: HeldLease | None = None
    _prolong: Callable[[HeldLease], Coroutine[Any, Any, None]]

    # Few executions use these two, so they are created on demand. A test may set them like any other attribute.

    @lazy
    def scheduled_at(self) -> datetime.datetime:
        return to_datetime(self._held.due_at, self.task.tz)

    @lazy
    def heartbeat(self) -> Callable[[], Coroutine[Any, Any, None]]:
        return functools.partial(self._prolong, self._held)

    @property
    def _held(self) -> HeldLease:
        if self._lease is None:
            raise AttributeError("This context belongs to no execution: set its attributes by hand.")
        return self._lease

    @property
    def remaining(self) -> datetime.timedelta | None:
        """The time until this attempt times out, never negative; None if the task has no ``timeout``."""
        return None if self._lease is None else remaining(self._lease, self.app_context.clock.now())

    def extend_timeout(self, delta: datetime.timedelta) -> None:
        """Extend the time-out of this attempt by ``delta``. Has no effect if the task has no ``timeout``.

        :raises TypeError: ``delta`` is no ``timedelta``.
        :raises ValueError: it is negative.
        """
        if self._lease is not None:
            extend(self._lease, delta)

    @lazy
    def previous(self) -> PreviousRun | None:
        """How the previous run ended; None if there is none, or the task has ``keep_runs=0``. Occurrences that were
        skipped before they started are not runs."""
        if self._lease is None:
            return None
        runs = [run for run in latest_runs(self._lease.before.state) if run.attempts]
        if not runs:
            return None
        ended_at = runs[-1].ended_at
        return PreviousRun(
            runs[-1].outcome,
            to_datetime(runs[-1].scheduled_at, self.task.tz),
            None if ended_at is None else to_datetime(ended_at),
        )

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...


class TaskFunc(Protocol):
    """A task's function; a plain function instead of a coroutine function runs in a worker thread."""

    def __call__(self, context: Context, /) -> Any: ...


class NextFunc(Protocol):
    """Enters the next middleware, or the task itself."""

    def __call__(self) -> Awaitable[None]: ...


class MiddlewareFunc(Protocol):
    """Wraps every execution; an exception that it raises counts as the task's failure."""

    def __call__(self, context: Context, next: NextFunc, /) -> Awaitable[None]: ...


class FixtureFunc(Protocol):
    """An async generator function that yields the fixture's value once."""

    def __call__(self, app_context: PyncetteContext, /) -> AsyncIterator[Any]: ...
