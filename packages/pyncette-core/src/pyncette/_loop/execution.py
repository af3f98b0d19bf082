"""One execution from lease to settlement: middlewares, the task function, heartbeats."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import anyio

from pyncette._concurrency.background import is_cancelled
from pyncette._leases.coordinator import Coordinator
from pyncette._leases.held import HeldLease
from pyncette._lifecycle.begin import EXECUTE, Execute, PutBack, Settle, begin, holds_lease
from pyncette._lifecycle.cutting import cancelled_with_lease, cuts, needs_scope
from pyncette._lifecycle.values import AttemptEnd
from pyncette._tasks.retry import sole_error
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.errors import LeaseLostException, RepositoryException, RetryLater, Steering
from pyncette.events import AttemptOutcome
from pyncette.observer import Observers

from .deadlines import Deadlines
from .failures import FailureLog
from .invoke import invoke, invoke_with_arguments
from .watchdog import Watchdog, Watched

logger: logging.Logger = logging.getLogger(__name__)

Middleware = Callable[[Any, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""A :class:`pyncette.context.MiddlewareFunc`, which this package may not import."""


class Freed(Protocol):
    """Called when an execution has ended."""

    def __call__(self, *, of_limited: bool) -> None: ...


class Execution(Watched):
    """A coroutine that executes one lease.

    :ivar uses_threads: whether it calls a plain function, which runs in a worker thread.
    """

    __slots__ = ("_executions", "_held", "_scope")

    def __init__(self, executions: Executions, held: HeldLease) -> None:
        super().__init__(executions.watchdog, held.task)
        self._executions = executions
        self._held = held
        self._scope: anyio.CancelScope | None = None

    @property
    def scope(self) -> anyio.CancelScope | None:
        """The cancel scope around everything that it does; None if only its executor may cancel it. Created on demand:
        otherwise every waiting execution would have a scope, which the garbage collector would have to traverse."""
        if self._scope is None and needs_scope(self._held.task.policies):
            self._scope = self._executions.new_scope()
        return self._scope

    @property
    def uses_threads(self) -> bool:
        return self._held.task.synchronous

    def __str__(self) -> str:
        return str(self._held.task)

    def begin(self) -> Coroutine[Any, Any, None]:
        executions, scope = self._executions, self.scope
        return executions.execute(self._held) if scope is None else executions.execute_in(scope, self._held)


class Executions:
    """Executes leases, each with its own context.

    :ivar new_scope: creates cancel scopes for the running event loop.
    :ivar items: attributes that every context gets.
    :ivar deadlines: cuts executions short.
    :ivar drain_expired: set when the drain deadline has passed: executions cancelled from then on are given back to
        other workers.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        clock: Clock,
        observers: Observers,
        middlewares: Sequence[Middleware],
        new_context: Callable[[], Any],
        on_end: Freed,
    ) -> None:
        self._coordinator = coordinator
        self._clock = clock
        self._observers = observers
        self._middlewares = tuple(reversed(middlewares))
        self._new_context = new_context
        self.new_scope = type(anyio.CancelScope())  # the concrete class, to skip detecting the event loop each time
        self.items: dict[str, Any] = {"_prolong": self._prolong}
        self._on_end = on_end
        self.watchdog = Watchdog()
        self.drain_expired = False
        self._failures = FailureLog()
        self.deadlines = Deadlines(clock, self.timed_out, coordinator.pauses)

    async def execute_in(self, scope: anyio.CancelScope, held: HeldLease) -> None:
        """Like :meth:`execute`, within its own cancel scope."""
        with scope:
            await self.execute(held, scope)

    async def execute(self, held: HeldLease, scope: anyio.CancelScope | None = None) -> None:
        """Execute one occurrence and pass its end to the coordinator. Raises only cancellation."""
        try:
            now = self._clock.now()
            decision = self._begin(held, now)
            if decision is not None and (decision.advance or now >= (held.record.locked_until or now)):
                decision = decision if await self._secure(held, decision) else None
                now = self._clock.now()
            if decision is not None:
                await self._run(held, scope, now)
        except anyio.get_cancelled_exc_class():
            if self.drain_expired and not held.lost:
                self._coordinator.settle(held, AttemptEnd.CANCELLED)
            else:
                self._coordinator.active.release(held)
            raise
        finally:
            held.ended = True
            self._coordinator.active.ended(held)
            self._on_end(of_limited=held.task.policies.concurrency is not None)

    def _begin(self, held: HeldLease, now: int) -> Execute | None:
        """Decide what to do and do it, except executing. Returns None if there is nothing to execute."""
        decision = begin(
            held.task.policies,
            held.spec,
            held.record,
            held.before,
            claimed_at=held.claimed_at,
            now=now,
            paused_until=self._coordinator.paused_until(held),
            pauses=self._coordinator.pauses(held),
        )
        if decision is EXECUTE:
            return decision
        if isinstance(decision, PutBack):
            extra = {"task": held.task.canonical_name}
            logger.info("%s is given back: %s.", held.task, decision.reason, extra=extra)
            self._observers.attempt_ended(held.task, held.record, "released", reason=decision.reason)
            self._coordinator.settle(held, AttemptEnd.RELEASED)
            return None
        if isinstance(decision, Settle):
            self._coordinator.store(held, decision.attempt)
            return None
        if decision.lost_with is not None:
            self._coordinator.attempt_lost(held, decision.lost_with)
        if decision.due_at is not None:
            held.due_at, held.skips = decision.due_at, decision.skips
        return decision

    async def _secure(self, held: HeldLease, decision: Execute) -> bool:
        """Store what has to be stored before the execution: at most once, that the occurrence is over; otherwise, a
        renewal of a lease that had expired when the reply to its claim arrived.

        :return: whether it may be executed.
        """
        extra = {"task": held.task.canonical_name}
        try:
            await (self._coordinator.advance if decision.advance else self._coordinator.reacquire)(held)
        except LeaseLostException:
            logger.warning("%s is not executed here: its lease was lost before it began.", held.task, extra=extra)
            return False
        except RepositoryException as e:
            logger.error(
                "%s is not executed: it is unknown whether this worker may execute it (%s).", held.task, e, extra=extra
            )
            return False
        return True

    async def _run(self, held: HeldLease, scope: anyio.CancelScope | None, now: int) -> None:
        task = held.task
        held.started_at = now
        lag = 0.0
        if self._observers.listening:
            lag = max(0, now - held.ready_at) / 1_000_000
            carried = (held.extra and held.extra.carried) or held.spec.carried
            held.carried = self._observers.attempt_started(task, held.run, lag=lag, carried=carried)
        logger.debug("Executing %s, due at %s.", task, held.due_at)
        started = time.perf_counter()
        error: BaseException | None = None
        end = AttemptEnd.SUCCEEDED
        try:
            if scope is not None:
                self._limit(held, scope, now)
            await self._call(held)
            if held.limit is not None:
                end = held.limit.cut or end
        except BaseException as e:
            error, end = self._how_ended(held, e)
            if end is AttemptEnd.CANCELLED and not (held.lost and held.scope is not None):
                raise
        finally:
            self.deadlines.end(held)
            if end is AttemptEnd.TIMED_OUT:
                error = _timed_out(held, error)
            if not (end is AttemptEnd.TIMED_OUT and task.synchronous):  # otherwise timed_out() has reported it
                self._ended(held, end, error, lag=lag, duration=time.perf_counter() - started)
        if held.lost:
            self._coordinator.lease_lost(held)
        else:
            self._coordinator.settle(held, end, error)

    def _how_ended(self, held: HeldLease, error: BaseException) -> tuple[BaseException | None, AttemptEnd]:
        """What to report as the error of an execution that raised, and how it has ended.

        The execution's own scope surrounds all of it, so ``limit.cut`` shows whether that scope was cancelled.
        """
        closing, cut = self.watchdog.closing, _cut(held)
        if _is_failure(error, closing=closing):
            sole = sole_error(error)
            return sole if isinstance(sole, Steering) else error, cut or AttemptEnd.FAILED
        if cut is None or not _is_cancellation(error):
            return error, AttemptEnd.CANCELLED
        rest = error.split(anyio.get_cancelled_exc_class())[1] if isinstance(error, BaseExceptionGroup) else None
        return rest, cut

    def _ended(
        self, held: HeldLease, end: AttemptEnd, error: BaseException | None, *, lag: float, duration: float
    ) -> None:
        task = held.task
        if end is not AttemptEnd.SUCCEEDED:
            self._log_end(task, end, error)
        if self._observers.listening:
            self._observers.attempt_ended(task, held.run, _OUTCOMES[end], lag=lag, duration=duration, error=error)

    def _log_end(self, task: Task, end: AttemptEnd, error: BaseException | None) -> None:
        extra = {"task": task.canonical_name}
        if isinstance(error, RetryLater):
            return  # logged later, with the time of the next attempt
        if isinstance(error, Steering):
            logger.info("Task %s: %s", task, str(error) or type(error).__name__, extra=extra)
        elif end is AttemptEnd.TIMED_OUT:
            logger.warning("Task %s %s.", task, error, extra=extra)
        elif end is AttemptEnd.SUPERSEDED:
            logger.warning("Task %s was cancelled, because its next occurrence has come due.", task, extra=extra)
        elif end is AttemptEnd.FAILED and error is not None:
            self._failures.failed(task, error)

    def timed_out(self, held: HeldLease) -> None:
        """Report that a plain function in a thread has timed out. It keeps running."""
        started_at = held.started_at or self._clock.now()
        lag = max(0, started_at - held.ready_at) / 1_000_000
        duration = (self._clock.now() - started_at) / 1_000_000
        self._ended(held, AttemptEnd.TIMED_OUT, _timed_out(held, None), lag=lag, duration=duration)

    def _limit(self, held: HeldLease, scope: anyio.CancelScope, now: int) -> None:
        """Allow the execution to be cut short from now on, by cancelling ``scope``."""
        policies = held.task.policies
        if cancelled_with_lease(policies):
            held.scope = scope
        if cuts(policies):
            self.deadlines.begin(held, now, scope)

    async def _call(self, held: HeldLease) -> None:
        context = self._context(held)
        func = held.task.task_func
        enter: Callable[[], Awaitable[Any]] = functools.partial(func, context)
        if held.task.arguments is not None:
            enter = functools.partial(invoke_with_arguments, held.task, context)
        elif held.task.synchronous:
            enter = functools.partial(invoke, func, context)
        for middleware in self._middlewares:
            enter = functools.partial(middleware, context, enter)
        await enter()

    def _context(self, held: HeldLease) -> Any:
        context = self._new_context()
        vars(context).update(
            self.items,
            task=held.task,
            args=held.args,
            fencing_token=held.record.fence,
            attempt=held.record.attempt,
            _lease=held,  # for its methods
        )
        if held.extra is not None:
            context.trigger, context.run_id = held.extra.trigger, held.extra.id
        return context

    async def _prolong(self, held: HeldLease) -> None:
        if holds_lease(held.task.policies):
            if held.ended:  # something that outlives the execution must not delay the next one
                raise LeaseLostException(held.task)
            await self._coordinator.extend(held)


def _cut(held: HeldLease) -> AttemptEnd | None:
    """How an execution was cut short; None if it was not."""
    return None if held.limit is None else held.limit.cut


def _is_cancellation(error: BaseException) -> bool:
    """Whether it comes from a cancel scope, even among other errors; not if the program or the coroutine is ending."""
    if isinstance(error, BaseExceptionGroup):
        return not any(isinstance(each, (KeyboardInterrupt, GeneratorExit)) for each in error.exceptions)
    return isinstance(error, anyio.get_cancelled_exc_class())


def _is_failure(error: BaseException, *, closing: bool) -> bool:
    """Whether the task failed, as opposed to being cut short.

    ``SystemExit`` is a failure: it must not end this program, only the script that the function was written for. So is
    a cancellation that nobody requested: the function waited for something else that was cancelled.

    :param closing: whether the coroutine is being closed because its event loop is gone.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(_is_failure(each, closing=closing) for each in error.exceptions)
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return not is_cancelled()
    if isinstance(error, GeneratorExit):
        return not closing
    return not isinstance(error, KeyboardInterrupt)


_OUTCOMES: dict[AttemptEnd, AttemptOutcome] = {
    AttemptEnd.SUCCEEDED: "succeeded",
    AttemptEnd.FAILED: "failed",
    AttemptEnd.TIMED_OUT: "timed_out",
    AttemptEnd.SUPERSEDED: "cancelled",
    AttemptEnd.CANCELLED: "cancelled",
}


def _timed_out(held: HeldLease, error: BaseException | None) -> TimeoutError:
    timed_out = TimeoutError(f"timed out after {held.task.policies.timeout}")
    timed_out.__cause__ = error
    return timed_out
