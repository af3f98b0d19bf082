"""Converts between moments, which are integers internally, and the datetimes that users see."""

from __future__ import annotations

import datetime

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

EARLIEST = (datetime.datetime.min.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
LATEST = (datetime.datetime.max.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
"""The last moment that a datetime can represent."""


def to_datetime(microseconds: int, tz: datetime.tzinfo = datetime.UTC) -> datetime.datetime:
    """An aware datetime. Exact, unlike ``fromtimestamp`` with a float."""
    moment = _EPOCH + datetime.timedelta(microseconds=microseconds)
    return moment if tz is datetime.UTC else moment.astimezone(tz)


def moment_of(name: str, value: object) -> int:
    """The moment that a user passed as the parameter ``name``; a naive datetime is local time.

    :raises TypeError: it is not a datetime.
    :raises ValueError: it is outside the years 1 to 9999 in UTC.
    """
    if not isinstance(value, datetime.datetime):
        raise TypeError(f"{name} must be a datetime like datetime(2030, 1, 31, 12, 0, tzinfo=UTC), not {value!r}")
    try:
        aware = value if value.utcoffset() is not None else value.astimezone()
        moment = (aware - _EPOCH) // _MICROSECOND
    except (OverflowError, ValueError, OSError):
        moment = LATEST + 1
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"{name} must be within the years 1 to 9999 in UTC, not {value!r}")
    return moment
