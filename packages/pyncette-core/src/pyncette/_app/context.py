"""What a task function, a middleware and a fixture get to see."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from pyncette._tasks.task import Task

from .running import PyncetteContext


class Context:
    """One execution of one occurrence. Each fixture is an attribute; middlewares may set further ones.

    :ivar app_context: the running app.
    :ivar task: the task or instance that is executed.
    :ivar scheduled_at: the occurrence, in the task's timezone.
    :ivar args: the task's arguments, a copy of this execution's own.
    :ivar fencing_token: grows with every claim of the instance. Another system that remembers the highest one it has
        seen can refuse writes of a worker that lost its lease and doesn't know yet.
    :ivar attempt: the number of this attempt in the run, from 1; those that were lost or cancelled count too.
    :ivar heartbeat: coroutine function that prolongs the lease by the task's ``lease_duration`` from now; does nothing
        in at-most-once tasks. Raises :class:`~pyncette.errors.LeaseLostException` once somebody else may have claimed
        the occurrence, and :class:`~pyncette.errors.RepositoryException` if the storage could not be asked.
    """

    app_context: PyncetteContext
    task: Task
    scheduled_at: datetime.datetime
    args: dict[str, Any]
    fencing_token: int
    attempt: int
    heartbeat: Callable[[], Coroutine[Any, Any, None]]

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
    """Wraps every execution; what it raises counts as the task's failure."""

    def __call__(self, context: Context, next: NextFunc, /) -> Awaitable[None]: ...


class FixtureFunc(Protocol):
    """An async generator function that yields the fixture's value once."""

    def __call__(self, app_context: PyncetteContext, /) -> AsyncIterator[Any]: ...
