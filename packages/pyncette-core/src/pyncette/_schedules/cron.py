"""Parses cron expressions, mostly with croniter."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from croniter import CroniterBadCronError, croniter

from pyncette._validation.checks import shown

from .fields import Days, Fields
from .ranges import DAY, HOUR, MINUTE, MONTH, NAMES, SECOND, WEEKDAY, YEAR, too_long_step, written_out

_ALLOWED = (
    "0-59",
    "0-23",
    "1-31, or L for the last day",
    "1-12 or JAN-DEC",
    "0-7 or SUN-SAT, 5#3 for the third Friday, L5 for the last one",
    "0-59",
    "1970-2099",
)
_SHAPE = (
    "write five fields (minute hour day-of-month month day-of-week), six with the second last, or seven with the"
    " year after that"
)


class CronError(CroniterBadCronError):
    """A cron expression that can't be used; the message names the field and says what to write."""


@lru_cache(maxsize=4096)
def parse(text: str) -> Fields:
    """Parse `text`; equal texts share one result.

    :raises CronError: the text is not valid; the message names the field.
    """
    parts = _parts(text)
    for name, allowed, part in zip(NAMES, _ALLOWED, parts, strict=False):
        if part[0] in "hHrR":
            raise CronError(
                f"schedule {shown(text)}: the {name} field {shown(part)} is hashed or random, which would differ"
                f" between processes; write a value ({allowed})"
            )
    plain = [written_out(field, part) for field, part in enumerate(parts[: len(NAMES)])]
    rewritten = len(parts) <= len(NAMES) and plain != parts
    try:
        parsed = croniter(" ".join(plain) if rewritten else text, 0)
    except (ValueError, TypeError, LookupError) as error:
        raise _explain(text, parts, error) from None  # croniter's own error adds nothing
    return _fields(text, parsed, parts if rewritten else parsed.expressions)


def _parts(text: str) -> list[str]:
    return re.findall(r"\S+", text, re.ASCII)


def warning_of(text: str) -> str | None:
    """A warning about a valid expression that probably doesn't mean what its author intended; None if there is none."""
    trouble = too_long_step(_parts(text))
    return None if trouble is None else f"schedule {shown(text)}: {trouble}."


def _explain(text: str, parts: Sequence[str], error: Exception) -> CronError:
    """Find the field that croniter objects to, by trying each one with wildcards in all others."""
    if not 5 <= len(parts) <= 7:
        return CronError(
            f"schedule {shown(text)} has {len(parts)} {'field' if len(parts) == 1 else 'fields'}: {_SHAPE}"
        )
    for position, part in enumerate(parts):
        alone = ["*"] * len(parts)
        alone[position] = part
        try:
            croniter(" ".join(alone), 0)
        except (ValueError, TypeError, LookupError) as reason:
            name, allowed = NAMES[position], _ALLOWED[position]
            seconds = "; with six fields the second is the last one" if len(parts) == 6 else ""
            why = shown(reason, str)
            return CronError(f"schedule {shown(text)}: bad {name} field {shown(part)}, use {allowed}{seconds} ({why})")
    return CronError(f"schedule {shown(text)} can't be read: {shown(error, str)}")


def _fields(text: str, parsed: croniter[float], parts: Sequence[str]) -> Fields:
    expanded = cast("list[list[int | str]]", parsed.expanded)
    hours = _values(expanded[HOUR], range(24))
    minutes = _values(expanded[MINUTE], range(60))
    seconds = _values(expanded[SECOND], range(60)) if len(expanded) > SECOND else [0]
    clock = [parts[field] for field in (MINUTE, HOUR, SECOND) if field < len(expanded)]
    return Fields(
        fixed=not any(sign in part for part in clock for sign in "*-/"),
        hours=_next_values(hours),
        minutes=_next_values(minutes),
        seconds=_next_values(seconds),
        values=(bytes(hours), bytes(minutes), bytes(seconds)),
        days=_days(text, parsed, expanded),
        first=hours[0] * 3600 + minutes[0] * 60 + seconds[0],
        last=hours[-1] * 3600 + minutes[-1] * 60 + seconds[-1],
    )


def _values(expanded: Collection[int | str], every: range) -> list[int]:
    return list(every) if "*" in expanded else sorted(value for value in expanded if isinstance(value, int))


def _next_values(values: Sequence[int]) -> bytes:
    return bytes(min(value for value in values if value >= at) for at in range(values[-1] + 1))


def _days(text: str, parsed: croniter[float], expanded: Sequence[Collection[int | str]]) -> Days | None:
    years = frozenset(_values(expanded[YEAR], range(0))) if len(expanded) > YEAR else frozenset()
    months = sum(1 << (month - 1) for month in _values(expanded[MONTH], range(1, 13)))
    nth = cast("Mapping[int, Collection[int | str]]", parsed.nth_weekday_of_month)
    rule = _DayRule(
        days=None if "*" in expanded[DAY] else frozenset(expanded[DAY]),
        weekdays=None if "*" in expanded[WEEKDAY] else frozenset(_values(expanded[WEEKDAY], range(7))),
        nth=frozenset((weekday, which) for weekday, all_of in nth.items() for which in all_of),
        nearest=frozenset(parsed.nearest_weekday),
    )
    rule.check(text)
    masks = tuple(
        sum(1 << (day - 1) for day in range(1, length + 1) if rule.matches(day, length, first))
        for length in range(28, 32)
        for first in range(7)
    )
    every_day = all(mask + 1 == 1 << 28 + kind // 7 for kind, mask in enumerate(masks))
    return None if every_day and months == 0xFFF and not years else Days(masks, months, years or None)


@dataclass(frozen=True, slots=True)
class _DayRule:
    """The day-of-month and day-of-week fields; None stands for every day."""

    days: frozenset[int | str] | None
    weekdays: frozenset[int] | None
    nth: frozenset[tuple[int, int | str]]  # (weekday, 1 to 5 or "l" for the last)
    nearest: frozenset[int]  # days moved to the nearest weekday ("15W")

    def check(self, text: str) -> None:
        if self.nth and self.weekdays != frozenset(weekday for weekday, _ in self.nth):
            raise CronError(
                f"schedule {shown(text)}: the day-of-week field mixes weekdays with '#' or 'L'; declare a task for each"
            )
        if self.days is not None and self.weekdays is not None and (self.nth or self.nearest):
            # Cron fires if either field matches, croniter if both do, or only one of them: the text is ambiguous.
            raise CronError(
                f"schedule {shown(text)}: a day-of-month field and a day-of-week field don't go together where one of"
                " them has '#', 'L5' or 'W'; write * for one of them, or declare a task for each"
            )

    def matches(self, day: int, length: int, first: int) -> bool:
        """Whether `day` of a month of `length` days that begins on weekday `first` (0 is Sunday) matches."""
        weekday = (first + day - 1) % 7
        if self.nth:
            return (weekday, (day + 6) // 7) in self.nth or (day + 7 > length and (weekday, "l") in self.nth)
        if self.nearest:
            return any(day == _nearest_working_day(wanted, length, first) for wanted in self.nearest)
        on_day = self.days is None or day in self.days or (day == length and "l" in self.days)
        on_weekday = self.weekdays is None or weekday in self.weekdays
        return on_day or on_weekday if self.days is not None and self.weekdays is not None else on_day and on_weekday


def _nearest_working_day(wanted: int, length: int, first: int) -> int:
    """The day from Monday to Friday that is nearest to `wanted` within the month."""
    day = min(wanted, length)
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
