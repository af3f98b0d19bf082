"""Ranges of a cron expression that croniter 7 misreads, written out as lists of values.

croniter reads a range with equal ends (``2-2``) as every value, and restarts the step of a wrapping range (``23-5/2``)
at the wrap.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MINUTE, HOUR, DAY, MONTH, WEEKDAY, SECOND, YEAR = range(7)
NAMES = ("minute", "hour", "day-of-month", "month", "day-of-week", "second", "year")
_FIRST_AND_SIZE = ((0, 60), (0, 24), (1, 31), (1, 12), (0, 7), (0, 60), (1970, 130))
_MONTHS = dict(
    zip(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], range(1, 13), strict=True)
)
_WEEKDAYS = dict(zip(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], range(7), strict=True))

_END = "([0-9]{1,4}|[a-z]{3})"
_RANGE = re.compile(f"{_END}-{_END}(?:/0*([1-9][0-9]{{0,8}}))?")
_STEP = re.compile(r".*/([0-9]{1,9})")


def written_out(field: int, part: str) -> str:
    """The field ``part`` with such ranges replaced. Everything else stays as it is, even if it is invalid."""
    if "-" not in part:
        return part
    return ",".join(_written_out(field, item) for item in part.split(","))


def _written_out(field: int, item: str) -> str:
    match = _RANGE.fullmatch(item.lower())
    if match is None:
        return item
    begin, end = _value(field, match[1]), _value(field, match[2])
    if begin is None or end is None or begin < end:
        return item
    first, size = _FIRST_AND_SIZE[field]
    # Sunday is 0 and 7.
    length = (end - begin) % size
    return ",".join(str(first + (begin - first + at) % size) for at in range(0, length + 1, int(match[3] or 1)))


def _value(field: int, text: str) -> int | None:
    """The number that ``text`` stands for; None if the field has no such value."""
    if text.isdigit():
        first, size = _FIRST_AND_SIZE[field]
        return value if first <= (value := int(text)) < first + size + (field == WEEKDAY) else None
    return (_MONTHS if field == MONTH else _WEEKDAYS if field == WEEKDAY else {}).get(text)


def too_long_step(parts: Sequence[str]) -> str | None:
    """A warning about the first step that is longer than its field, so that it never reaches a second value; None if
    there is none."""
    for field, part in enumerate(parts[:YEAR]):
        size = _FIRST_AND_SIZE[field][1]
        for item in part.split(","):
            match = _STEP.fullmatch(item)
            if match is not None and int(match[1]) > size:
                return (
                    f"the step of {item!r} is longer than the {NAMES[field]} field, which has {size} values: it starts"
                    f" over each time, and matches {'the first one' if item[0] == '*' else 'one of them'} alone. For"
                    " longer steps use interval=, or a list of values"
                )
    return None
