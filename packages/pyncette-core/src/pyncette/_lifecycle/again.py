"""Whether there is another attempt, and when. Pure; part of :mod:`pyncette._lifecycle.end`.

Times are microseconds since the epoch.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from pyncette._tasks.policies import FailureMode, Policies
from pyncette._tasks.retry import Retry
from pyncette._tasks.state import Attempts, cut, described
from pyncette.errors import GiveUp, RetryLater

from .values import Attempt

_MICROSECOND = datetime.timedelta(microseconds=1)

_LOSS_LIMITS = Retry(1)
"""Limits and delays lost attempts if ``retry`` is a function, which is only called for errors."""


@dataclass(frozen=True, slots=True)
class Again:
    """There is another attempt.

    :ivar at: when; None to keep the lease and retry when it expires.
    :ivar counts: whether the attempt that has ended counts as failed.
    """

    at: int | None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class GivenUp:
    """There is no other attempt: the run has failed. ``reason`` says why, if the error doesn't."""

    reason: str = ""


def after_failure(
    policies: Policies, attempt: Attempt, recorded: Attempts, chance: float, retry_delay: int
) -> Again | GivenUp:
    """Decide after an attempt that raised or timed out."""
    error, retry = attempt.error, policies.retry
    if isinstance(error, GiveUp):
        return GivenUp(cut(error.reason))
    if isinstance(error, RetryLater) and not error.count:
        return Again(attempt.ended_at + error.after // _MICROSECOND, counts=False)
    if error is None or policies.failure_mode is FailureMode.COMMIT:
        return GivenUp()
    decision: Again | GivenUp
    if retry is None:
        decision = Again(attempt.ended_at + retry_delay if policies.failure_mode is FailureMode.UNLOCK else None)
    elif isinstance(retry, Retry):
        decision = _by_value(retry, attempt, error, recorded, chance)
    else:
        decision = _by_function(retry, attempt, error, recorded)
    if isinstance(error, RetryLater) and isinstance(decision, Again):
        return Again(attempt.ended_at + error.after // _MICROSECOND)
    return decision


def after_loss(
    policies: Policies, attempt: Attempt, lost: int, recorded: Attempts, now: int, chance: float
) -> Again | GivenUp:
    """Decide after an attempt whose worker died, for the ``lost``-th time in this run."""
    if policies.retry is None:
        return Again(now, counts=False)  # without limit or delay: it has waited for the lease to expire
    retry = policies.retry if isinstance(policies.retry, Retry) else _LOSS_LIMITS
    workers = ", ".join(dict.fromkeys([*recorded.lost_with, attempt.worker])) or "unknown workers"
    if lost >= retry.max_lost:
        return GivenUp(f"lost with its worker {lost} times: {workers}")
    at = max(attempt.ended_at + retry.pause(lost, chance), now)
    if _too_late(retry, attempt, recorded, at):
        return GivenUp(f"max_elapsed has passed; lost with its worker {lost} times: {workers}")
    return Again(at, counts=False)


def _by_value(
    retry: Retry, attempt: Attempt, error: BaseException, recorded: Attempts, chance: float
) -> Again | GivenUp:
    failed = recorded.failed + 1
    if failed >= retry.max_attempts:
        return GivenUp()
    if not (isinstance(error, RetryLater) or retry.allows(error)):
        return GivenUp()
    at = attempt.ended_at + retry.pause(failed, chance)
    return GivenUp("max_elapsed has passed") if _too_late(retry, attempt, recorded, at) else Again(at)


def _by_function(
    retry: Callable[[int, BaseException], datetime.timedelta | None],
    attempt: Attempt,
    error: BaseException,
    recorded: Attempts,
) -> Again | GivenUp:
    try:
        delay = retry(recorded.failed + 1, error)
        if delay is None:
            return GivenUp()
        return Again(attempt.ended_at + max(delay // _MICROSECOND, 0))
    except Exception as e:  # noqa: BLE001 - the run must end, whatever a user's function does
        return GivenUp(cut(f"the function given as retry failed: {described(e)}"))


def _too_late(retry: Retry, attempt: Attempt, recorded: Attempts, at: int) -> bool:
    if retry.max_elapsed is None:
        return False
    first = recorded.first if recorded.first is not None else attempt.started_at
    return first is not None and at - first > retry.max_elapsed // _MICROSECOND
