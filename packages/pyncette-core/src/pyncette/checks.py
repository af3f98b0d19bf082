"""Checks of a backend's options."""

from __future__ import annotations

from ._validation.checks import check_flag, shown

__all__ = ["check_flag", "check_whole"]


def check_whole(name: str, value: object, *, least: int, most: int | None = None) -> None:
    """See that an option is a whole number in a range. The message names it.

    :raises TypeError: it is no whole number.
    :raises ValueError: it is out of range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}.")
    if value < least or (most is not None and value > most):
        allowed = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {allowed}, not {shown(value)}.")
