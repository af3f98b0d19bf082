"""Moments, which are integers everywhere inside, as users see them."""

from __future__ import annotations

import datetime


def to_datetime(microseconds: int, tz: datetime.tzinfo = datetime.UTC) -> datetime.datetime:
    """An aware datetime; exact, which ``fromtimestamp`` of a float is not."""
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (epoch + datetime.timedelta(microseconds=microseconds)).astimezone(tz)
