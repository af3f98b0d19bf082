"""Checks of argument values that more than one place needs."""

from __future__ import annotations

import datetime

_MICROSECOND = datetime.timedelta(microseconds=1)


def check_duration(name: str, value: object) -> int:
    """``value`` in microseconds.

    :raises ValueError: it is not a positive ``timedelta``.
    """
    if not isinstance(value, datetime.timedelta):
        raise ValueError(f"{name} must be a timedelta, not {value!r}: write datetime.timedelta(seconds=…).")
    if value < _MICROSECOND:
        raise ValueError(f"{name} must be positive, not {value!r}.")
    return value // _MICROSECOND


def check_count(name: str, value: object) -> int:
    """:raises ValueError: ``value`` is not a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
    return value


def is_index(value: object, count: int) -> bool:
    """Whether ``value`` is a whole number from 0 to ``count - 1``."""
    return isinstance(value, int) and 0 <= value < count
