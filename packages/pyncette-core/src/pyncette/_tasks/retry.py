"""When a failed run is executed again. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from pyncette._validation.checks import check_count, check_duration

_MICROSECOND = datetime.timedelta(microseconds=1)


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
        kinds = (error, alone(error))
        return any(isinstance(kind, self.on) for kind in kinds) and not any(
            isinstance(kind, self.give_up_on) for kind in kinds
        )


def alone(error: BaseException) -> BaseException:
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
