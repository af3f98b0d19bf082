"""Reports the outcomes of runs to observers and in the log: each once, after it is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pyncette._lifecycle.at_most_once import outcome_of
from pyncette._lifecycle.extra import schedule_side
from pyncette._lifecycle.values import Attempt, AttemptEnd, Ended, Skipped
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.extra import current_run
from pyncette._tasks.state import described
from pyncette._tasks.task import Task
from pyncette.errors import RetryLater, Steering
from pyncette.observer import Observers
from pyncette.record import Band, Record

from .active import Active
from .held import Conclude, HeldLease, Settle

logger: logging.Logger = logging.getLogger(__name__)


class Outcomes:
    """Reports outcomes when the writes that end leases are done.

    :param on_settled: called when the end of a lease has been stored, or storing it has been given up.
    """

    def __init__(self, observers: Observers, active: Active, on_settled: Callable[[], None]) -> None:
        self._observers = observers
        self._active = active
        self._on_settled = on_settled

    def settled(self, write: Settle, error: Exception | None) -> None:
        held, result = write.held, write.result
        self._active.release(held)
        self._on_settled()
        if error is not None:
            logger.error(
                "The end of %s could not be stored; it will run again when its lease expires.",
                held.task,
                exc_info=error,
                extra={"task": held.task.canonical_name},
            )
        elif held.lost:
            self.lease_lost(held)
        elif result.outcome == "succeeded" and not (self._observers.listening or result.skips):
            return
        else:
            self._report(held.task, write.run, write.attempt, result)

    def advanced(self, held: HeldLease, result: Ended) -> None:
        """At most once: it is stored that the occurrence is over, and it is about to be executed."""
        report_skips(self._observers, held.task, held.record, result.skips)
        for run in result.unknown:
            logger.warning(
                "It is unknown how the run of %s at %s ended: its worker, %s, did not report it.",
                held.task,
                to_datetime(run.scheduled_at),
                run.worker,
                extra={"task": held.task.canonical_name},
            )
            self._observers.run_ended(
                held.task, held.record, "unknown", scheduled_at=run.scheduled_at, attempts=run.attempts
            )

    def concluded(self, write: Conclude, error: Exception | None) -> None:
        """At most once: the run's outcome is stored, or storing it has been given up."""
        self._active.release(write.held)
        self._on_settled()
        self._report(write.held.task, write.run, write.attempt, write.result)

    def unrecorded(self, held: HeldLease, attempt: Attempt) -> None:
        """At most once: the run has ended, and its outcome is not stored."""
        outcome, reason = outcome_of(attempt)
        self._active.release(held)
        self._report(held.task, held.record, attempt, Ended(None, outcome, reason))

    def lease_lost(self, held: HeldLease) -> None:
        """Report a lost lease if the occurrence was begun. What happens to it next is up to other workers."""
        self._active.release(held)
        if held.started_at is None:
            return
        extra = {"task": held.task.canonical_name}
        if not held.taken:
            logger.info("%s was removed or rescheduled while it was executed.", held.task, extra=extra)
            return
        logger.warning(
            "The lease on %s was lost before its end was stored; it may have been executed twice.",
            held.task,
            extra=extra,
        )
        self._observers.lease_lost(held.task, held.record)

    def _report(self, task: Task, run: Record, attempt: Attempt, result: Ended) -> None:
        if attempt.end is AttemptEnd.LOST:
            self.attempt_lost(task, run, attempt.worker)
        if attempt.moved and attempt.go_to is not None:
            logger.warning(
                "%s was due at %s, which is not on its schedule any more; it moves to %s.",
                task,
                to_datetime(attempt.due_at, task.tz),
                to_datetime(attempt.go_to, task.tz),
                extra={"task": task.canonical_name},
            )
        report_skips(self._observers, task, run, result.skips)
        if result.outcome is None:
            if isinstance(attempt.error, RetryLater):
                at = result.again_at
                when = "when it is resumed" if at is None else f"at {to_datetime(at, task.tz)}"
                extra = {"task": task.canonical_name}
                logger.info("Task %s runs again %s: %s", task, when, attempt.error, extra=extra)
            return
        lost = attempt.end is AttemptEnd.LOST
        if result.outcome == "failed":
            self._log_failure(task, run.attempt - lost, attempt, result, scheduled=current_run(run.state) is None)
        self._observers.run_ended(
            task,
            run,
            result.outcome,
            scheduled_at=attempt.due_at,
            attempts=run.attempt - lost,
            reason=result.reason,
            error=None if result.outcome == "succeeded" else attempt.error,
        )

    def attempt_lost(self, task: Task, run: Record, worker: str) -> None:
        """Report that the attempt before the claim of ``run`` was lost with its worker."""
        logger.warning(
            "An attempt of %s was lost with its worker, %s.",
            task,
            worker or "which is unknown",
            extra={"task": task.canonical_name},
        )
        self._observers.attempt_lost(task, run, worker)

    def _log_failure(self, task: Task, attempts: int, attempt: Attempt, result: Ended, *, scheduled: bool) -> None:
        new = None if result.change is None else result.change.new
        band = Band.of(schedule_side(new).ready_at) if scheduled and new is not None else None
        why = result.reason or (described(attempt.error) if attempt.error is not None else "")
        extra = {"task": task.canonical_name, "outcome": "failed"}
        if band is Band.DEAD:
            logger.error("%s is dead until it is retried or rescheduled: %s", task, why, extra=extra)
        elif band is Band.PAUSED:
            logger.error("%s is paused after consecutive failures, the last one: %s", task, why, extra=extra)
        elif attempts > 1:
            logger.warning("The run of %s has failed after %d attempts: %s", task, attempts, why, extra=extra)
        elif result.reason or isinstance(attempt.error, Steering):  # otherwise the failed attempt was logged
            logger.warning("The run of %s has failed: %s", task, why, extra=extra)


def report_skips(observers: Observers, task: Task, run: Record, skips: Sequence[Skipped]) -> None:
    """Report skipped occurrences. Call this after the skip is stored."""
    for skip in skips:
        extra = {"task": task.canonical_name, "reason": skip.reason, "count": skip.count}
        first, last = to_datetime(skip.first, task.tz), to_datetime(skip.last, task.tz)
        if skip.count == 1:
            logger.warning("An occurrence of %s is skipped (%s): %s.", task, skip.reason, first, extra=extra)
        else:
            number = f"{'' if skip.exact else 'At least '}{skip.count}"
            logger.warning(
                "%s occurrences of %s are skipped (%s), from %s to %s.",
                number,
                task,
                skip.reason,
                first,
                last,
                extra=extra,
            )
        observers.skipped(task, run, skip, skip.reason)
