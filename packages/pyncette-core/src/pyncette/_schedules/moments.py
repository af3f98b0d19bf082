"""Moments, which are integers everywhere inside, as users see them."""

from __future__ import annotations

import datetime

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def to_datetime(microseconds: int, tz: datetime.tzinfo = datetime.UTC) -> datetime.datetime:
    """An aware datetime; exact, which ``fromtimestamp`` of a float is not."""
    moment = _EPOCH + datetime.timedelta(microseconds=microseconds)
    return moment if tz is datetime.UTC else moment.astimezone(tz)
