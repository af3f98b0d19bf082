"""Checks of argument values that more than one place needs."""

from __future__ import annotations

import datetime
import enum
import inspect
import sys
from collections.abc import Callable
from typing import Any

_MICROSECOND = datetime.timedelta(microseconds=1)

LONGEST = datetime.timedelta(days=365_250)
"""A thousand years. What is counted from today on stays within the years that ``datetime`` can show."""

MAX = 1_000_000
"""The upper limit of counts, each unit of which costs memory or work."""


def shown(value: object, text: Callable[[object], str] = repr) -> str:
    """``value`` as text for a message: truncated, and without raising."""
    try:
        long = text(value)
    except Exception:  # noqa: BLE001 - for example, an integer with more digits than Python converts
        return f"an object of type {type(value).__name__}"
    return long if len(long) <= 100 else f"{long[:80]}… ({len(long):,} characters)"


def check_duration(name: str, value: object) -> int:
    """``value`` in microseconds.

    :raises TypeError: it is not a ``timedelta``.
    :raises ValueError: it is not positive, or longer than 1,000 years.
    """
    if not isinstance(value, datetime.timedelta):
        raise TypeError(f"{name} must be a timedelta, not {shown(value)}: write datetime.timedelta(seconds=…).")
    if value < _MICROSECOND:
        raise ValueError(f"{name} must be positive, not {value!r}: write datetime.timedelta(seconds=…).")
    if value > LONGEST:
        raise ValueError(f"{name} must be at most 1,000 years, not {value!r}: write datetime.timedelta(days=…).")
    return value // _MICROSECOND


def check_flag(name: str, value: object) -> None:
    """:raises TypeError: ``value`` is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {shown(value)}: write True or False.")


def check_sought(name: str, value: object) -> None:
    """Check a text to search for in the storage.

    :raises TypeError: it is not a string.
    :raises ValueError: nothing stored can contain it, and databases refuse it.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} is {shown(value)}: NUL and lone surrogates, which are not text, can't be looked for.")


def check_heartbeat(name: str, value: object) -> None:
    """:raises TypeError: ``value`` is neither True nor False nor ``'cancel'``."""
    if not isinstance(value, bool) and value != "cancel":
        raise TypeError(f"{name} is {value!r}: write True, False or 'cancel'.")


def check_choice(kind: type[enum.Enum]) -> Callable[[str, object], None]:
    """A check that raises TypeError unless the value is a member of ``kind``."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, kind):
            choices = " or ".join(f"{kind.__name__}.{member.name}" for member in kind)
            raise TypeError(f"{name} is {shown(value)}: write {choices}.")

    return check


def check_optional(check: Callable[[str, object], object]) -> Callable[[str, object], None]:
    """A check that also accepts None."""

    def checked(name: str, value: object) -> None:
        if value is not None:
            check(name, value)

    return checked


def check_whole(least: int, most: int = MAX) -> Callable[[str, object], None]:
    """A check that raises TypeError if the value is not an integer, and ValueError if it is out of range."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be a whole number, not {shown(value)}.")
        if not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least:,} to {most:,}, not {shown(value)}.")

    return check


def check_count(name: str, value: object, most: int = MAX) -> int:
    """``value``, if it is an integer from 1 to ``most``.

    :raises TypeError: it is not an integer.
    :raises ValueError: it is less than 1, or more than ``most``.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}.")
    if value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {shown(value)}.")
    if value > most:
        raise ValueError(f"{name} must be a whole number of at most {most:,}, not {shown(value)}.")
    return value


def is_index(value: object, count: int) -> bool:
    """Whether ``value`` is an integer from 0 to ``count - 1``."""
    return isinstance(value, int) and 0 <= value < count


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature, even if the annotations can't be evaluated because they are only meant for type checkers."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def check_function(what: str, value: object, *arguments: str) -> None:
    """:raises TypeError: ``value`` can't be called with ``arguments``."""
    form = f"write def {getattr(value, '__name__', 'name')}({', '.join(arguments)})"
    if not callable(value):
        raise TypeError(f"A {what} must be a function, not {shown(value)}: {form}.")
    try:
        signature = signature_of(value)
    except ValueError:  # some builtins have none
        return
    try:
        signature.bind(*arguments)
    except TypeError as e:
        raise TypeError(f"The {what} {value!r} can't be called with {' and '.join(arguments)} ({e}): {form}.") from None


def check_no_generator(what: str, value: object) -> None:
    """:raises TypeError: ``value`` is a generator function, so calling it would run nothing of its body."""
    if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise TypeError(f"The {what} {value!r} is a generator, whose body would never run: leave its yield out.")


def check_port(name: str, value: object) -> int:
    """``value``, if it is a port number.

    :raises TypeError: it is not an integer.
    :raises ValueError: it is not from 0 to 65,535.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}.")
    if not 0 <= value <= 65_535:
        raise ValueError(f"{name} must be from 0 to 65535, not {shown(value)}.")
    return value
