"""When a failed run is executed again. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from pyncette._validation.checks import check_count, check_duration
from pyncette._validation.parameters import corrects_keywords

_MICROSECOND = datetime.timedelta(microseconds=1)


_WORDS = {
    **dict.fromkeys(
        (
            "attempts",
            "max_retries",
            "max_retry",
            "max_tries",
            "retries",
            "stop_after_attempt",
            "times",
            "total",
            "tries",
        ),
        "max_attempts=…, which counts the first attempt too",
    ),
    **dict.fromkeys(
        ("backoff", "countdown", "initial_delay", "interval", "min_delay", "pause", "retry_delay", "seconds", "wait"),
        "delay=timedelta(seconds=…)",
    ),
    **dict.fromkeys(("backoff_factor", "base", "exponent", "multiplier"), "factor=2"),
    **dict.fromkeys(
        ("backoff_max", "max_backoff", "max_interval", "max_wait", "retry_backoff_max"),
        "max_delay=timedelta(minutes=…)",
    ),
    **dict.fromkeys(("randomize", "retry_jitter"), "jitter=0.1"),
    **dict.fromkeys(
        ("deadline", "max_duration", "max_time", "stop_after_delay", "timeout", "total_timeout"),
        "max_elapsed=timedelta(minutes=…)",
    ),
    **dict.fromkeys(
        ("autoretry_for", "errors", "exceptions", "retry_exceptions", "retry_for", "retry_if", "retry_on"),
        "on=(ConnectionError,), the errors after which to try again",
    ),
    **dict.fromkeys(
        ("dont_autoretry_for", "dont_retry_on", "exclude", "ignore", "no_retry_on", "not_on", "throws"),
        "give_up_on=(ValueError,), the errors after which not to try again",
    ),
}
"""Words that other libraries have for the parameters of :class:`Retry`."""


@corrects_keywords(_WORDS)
@dataclass(frozen=True, slots=True)
class Retry:
    """Retries failed attempts, with a growing delay.

    :ivar max_attempts: total attempts of one run, so 1 means no retry. Lost attempts don't count.
    :ivar delay: from the end of the first failed attempt to the second one.
    :ivar factor: the factor by which the delay grows with each further failure; at least 1.
    :ivar max_delay: the maximum delay.
    :ivar jitter: each delay is randomly lengthened or shortened by up to this fraction of itself; from 0 to 1.
    :ivar max_elapsed: no attempt starts later than this after the first attempt of the run; None for no limit.
    :ivar max_lost: how often a run's worker may die, or lose its lease, during the run, before the run has failed.
        Until then it is executed again, as after a failure.
    :ivar on: errors after which there is another attempt. A time-out counts as a ``TimeoutError``.
    :ivar give_up_on: errors after which there is no other attempt, even if ``on`` includes them.
    :raises TypeError: a value has the wrong type.
    :raises ValueError: a value is out of range.
    """

    max_attempts: int
    delay: datetime.timedelta = datetime.timedelta(seconds=1)
    factor: float = 2
    max_delay: datetime.timedelta = datetime.timedelta(minutes=10)
    jitter: float = 0.1
    max_elapsed: datetime.timedelta | None = None
    max_lost: int = 5
    on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        check_count("max_attempts", self.max_attempts)
        check_count("max_lost", self.max_lost)
        check_duration("delay", self.delay)
        check_duration("max_delay", self.max_delay)
        if self.max_elapsed is not None:
            check_duration("max_elapsed", self.max_elapsed)
        _check_number("factor", self.factor, at_least=1, at_most=1_000_000)
        _check_number("jitter", self.jitter, at_least=0, at_most=1)
        if self.max_delay < self.delay:
            raise ValueError(f"max_delay ({self.max_delay}) must not be shorter than delay ({self.delay}).")
        for name in ("on", "give_up_on"):
            object.__setattr__(self, name, _exceptions(name, getattr(self, name)))

    def pause(self, times: int, chance: float) -> int:
        """Microseconds to wait after an attempt has failed, or was lost, for the ``times``-th time.

        :param chance: a random number from 0 to 1.
        """
        longest = self.max_delay // _MICROSECOND
        try:  # float, because a power of an integer may have millions of digits
            delay = min(longest, self.delay // _MICROSECOND * float(self.factor) ** (times - 1))
        except OverflowError:
            delay = longest
        return round(delay * (1 + self.jitter * (2 * chance - 1)))

    def allows(self, error: BaseException) -> bool:
        """Whether the type of ``error`` allows another attempt, even if a task group has wrapped the error."""
        kinds = (error, sole_error(error))
        return any(isinstance(kind, self.on) for kind in kinds) and not any(
            isinstance(kind, self.give_up_on) for kind in kinds
        )


def sole_error(error: BaseException) -> BaseException:
    """The error itself, or the only error in a group, or in nested groups, of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


RetryPolicy: TypeAlias = Retry | Callable[[int, BaseException], datetime.timedelta | None]
"""A :class:`Retry`, or a function ``(attempt, error)`` that gives the time to wait, or None to give up. ``attempt`` is
the number of attempts that have failed. It should be quick and pure, as it may be called twice."""


def check_retry(name: str, value: object) -> None:
    """:raises TypeError: it is not a retry policy."""
    if value is None or isinstance(value, Retry):
        return
    if isinstance(value, int) and not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: write {name}=Retry({value!r}) for that many attempts.")
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"{name} is {value!r}: write {name}=Retry(3), or a function (attempt, error) -> timedelta | None."
        )


def _check_number(name: str, value: object, *, at_least: float, at_most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r}.")
    if not at_least <= value <= at_most:
        raise ValueError(f"{name} must be from {at_least:,} to {at_most:,}, not {value!r}.")


def _exceptions(name: str, value: object) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else tuple(value) if isinstance(value, (list, set)) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise TypeError(f"{name} must be a tuple of exception classes, not {value!r}: write {name}=(ConnectionError,).")
    return kinds
