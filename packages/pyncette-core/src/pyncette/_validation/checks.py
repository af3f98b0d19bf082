"""Checks of argument values that more than one place needs."""

from __future__ import annotations

import datetime
import enum
import inspect
from collections.abc import Callable

_MICROSECOND = datetime.timedelta(microseconds=1)


def check_duration(name: str, value: object) -> int:
    """``value`` in microseconds.

    :raises TypeError: it is no ``timedelta``.
    :raises ValueError: it is not positive.
    """
    if not isinstance(value, datetime.timedelta):
        raise TypeError(f"{name} must be a timedelta, not {value!r}: write datetime.timedelta(seconds=…).")
    if value < _MICROSECOND:
        raise ValueError(f"{name} must be positive, not {value!r}.")
    return value // _MICROSECOND


def check_flag(name: str, value: object) -> None:
    """:raises TypeError: ``value`` is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: write True or False.")


def check_choice(kind: type[enum.Enum]) -> Callable[[str, object], None]:
    """A check that raises TypeError for what is no member of ``kind``."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, kind):
            choices = " or ".join(f"{kind.__name__}.{member.name}" for member in kind)
            raise TypeError(f"{name} is {value!r}: write {choices}.")

    return check


def check_count(name: str, value: object) -> int:
    """``value``, if it is a whole number of at least 1.

    :raises TypeError: it is no whole number.
    :raises ValueError: it is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
    return value


def is_index(value: object, count: int) -> bool:
    """Whether ``value`` is a whole number from 0 to ``count - 1``."""
    return isinstance(value, int) and 0 <= value < count


def check_function(what: str, value: object, *arguments: str) -> None:
    """:raises TypeError: ``value`` can't be called with ``arguments``."""
    form = f"write def {getattr(value, '__name__', 'name')}({', '.join(arguments)})"
    if not callable(value):
        raise TypeError(f"A {what} must be a function, not {value!r}: {form}.")
    try:
        signature = inspect.signature(value)
    except ValueError:  # some builtins have none
        return
    try:
        signature.bind(*arguments)
    except TypeError as e:
        raise TypeError(f"The {what} {value!r} can't be called with {' and '.join(arguments)} ({e}): {form}.") from None


def check_no_generator(what: str, value: object) -> None:
    """:raises TypeError: calling ``value`` would only make a generator, and run nothing of its body."""
    if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise TypeError(f"The {what} {value!r} is a generator, whose body would never run: leave its yield out.")


def check_port(name: str, value: object) -> int:
    """``value``, if it is a port number.

    :raises TypeError: it is no whole number.
    :raises ValueError: it is not from 0 to 65,535.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    if not 0 <= value <= 65_535:
        raise ValueError(f"{name} must be from 0 to 65535, not {value!r}.")
    return value
