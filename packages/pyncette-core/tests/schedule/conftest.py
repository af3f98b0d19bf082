"""An independent reader of the IANA database, and an oracle that applies the cron contract minute by minute.

Neither uses anything of `pyncette`: transitions come from the files of the database, local times from `zoneinfo`.
"""

from __future__ import annotations

import importlib.resources
import itertools
import re
import struct
import zoneinfo
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
from croniter import croniter

from pyncette._schedules.zones import iana_names

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Transition:
    """A moment (seconds since the epoch, UTC) at which a zone's offset changes, and the offsets around it."""

    at: int
    before: int
    after: int


@dataclass(frozen=True)
class Rules:
    """The content of a file of the database, and the names of all zones that have this content."""

    names: tuple[str, ...]
    transitions: tuple[Transition, ...]
    footer: str  # the rule after the last transition


@cache
def database() -> Sequence[Rules]:
    """Every zone of the database, grouped by identical files."""
    names: dict[bytes, list[str]] = {}
    for name in sorted(iana_names()):
        names.setdefault(read_zone(name), []).append(name)
    return [read_rules(tuple(alike), data) for data, alike in names.items()]


def read_zone(name: str) -> bytes:
    for folder in zoneinfo.TZPATH:
        path = Path(folder, *name.split("/"))
        if path.is_file():
            return path.read_bytes()
    return importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes()


def read_rules(names: tuple[str, ...], data: bytes) -> Rules:
    """Read the 64-bit part of a TZif file (RFC 9636)."""
    ut, std, leap, times, types, chars = struct.unpack(">6l", data[20:44])
    second = 44 + times * 5 + types * 6 + chars + leap * 8 + std + ut
    times, types = struct.unpack(">2l", data[second + 32 : second + 40])
    start = second + 44
    moments = struct.unpack(f">{times}q", data[start : start + 8 * times])
    indices = data[start + 8 * times : start + 9 * times]
    records = start + 9 * times
    offsets = [struct.unpack(">l", data[records + 6 * i : records + 6 * i + 4])[0] for i in range(types)]
    shown = [offsets[0], *(offsets[index] for index in indices)]
    changes = zip(moments, shown, shown[1:], strict=False)
    footer = data.rstrip(b"\n").rsplit(b"\n", 1)[1].decode()
    return Rules(names, tuple(Transition(*change) for change in changes if change[1] != change[2]), footer)


@cache
def ruled_transitions(name: str, low: int, high: int) -> tuple[Transition, ...]:
    """The transitions of a zone between two moments, found by checking its offset every other day.

    For the years that only the footer's rule covers; no rule makes transitions that are closer than a week.
    """
    found: list[Transition] = []
    for start in range(low, high, 2 * 86400):
        before, after = utc_offset(name, start), utc_offset(name, start + 2 * 86400)
        if before != after:
            between = range(start, start + 2 * 86400 + 1)
            first = bisect_left(between, True, key=lambda at: utc_offset(name, at) != before)
            found.append(Transition(between[first], before, after))
    return tuple(found)


def utc_offset(name: str, moment: int) -> int:
    offset = datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(name)).utcoffset()
    assert offset is not None
    return offset // timedelta(seconds=1)


def transitions_between(rules: Rules, first_year: int, last_year: int) -> list[Transition]:
    low = int(datetime(first_year, 1, 1, tzinfo=UTC).timestamp())
    high = int(datetime(last_year + 1, 1, 1, tzinfo=UTC).timestamp())
    found = [change for change in rules.transitions if low <= change.at < high]
    if "," in rules.footer:
        later = max(low, rules.transitions[-1].at + 86400)
        found += ruled_transitions(rules.names[0], later, high)
    return found


def by_walking(text: str) -> str:
    """`text` with the ranges that croniter misreads written out as lists of values."""
    parts = text.split()
    if not 5 <= len(parts) <= 7:
        return text
    circles: list[list[str]] = [
        [str(number) for number in range(low, high + 1)]
        for low, high in ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6), (0, 59), (1970, 2099))
    ]
    names = {
        3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    }

    def walk(circle: list[str], begin: str, end: str, step: int) -> list[str]:
        passed, at = [begin], circle.index(begin)
        while passed[-1] != end:
            at = (at + 1) % len(circle)
            passed.append(circle[at])
        return passed[::step]

    def item(field: int, text: str) -> str:
        match = re.fullmatch(r"([0-9]+|[a-zA-Z]+)-([0-9]+|[a-zA-Z]+)(?:/0*([1-9][0-9]*))?", text)
        if match is None:
            return text
        circle = circles[field]
        begin, end = (
            circle[names[field].index(end.lower())] if end.lower() in names.get(field, ()) else end.lstrip("0") or "0"
            for end in (match[1], match[2])
        )
        if not (begin.isdigit() and end.isdigit()) or int(begin) < int(end):
            return text
        if field == 4:
            begin, end = begin.replace("7", "0"), end.replace("7", "0")
        known = begin in circle and end in circle
        return ",".join(walk(circle, begin, end, int(match[3] or 1))) if known else text

    return " ".join(
        ",".join(item(field, text) for text in part.split(",")) if "-" in part else part
        for field, part in enumerate(parts)
    )


@lru_cache(maxsize=256)
def expression(text: str) -> Expression:
    return Expression(text)


@dataclass
class Expression:
    """A cron expression as plain sets; croniter expands the fields, everything else is brute force."""

    text: str
    times: frozenset[int] = field(init=False)  # matching seconds of the day
    fixed: bool = field(init=False)
    _days: dict[int, bool] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        parsed: Any = croniter(by_walking(self.text), 0)
        self._expanded: list[list[Any]] = parsed.expanded
        self._nth: dict[int, set[Any]] = parsed.nth_weekday_of_month
        self._nearest: set[int] = parsed.nearest_weekday
        minutes, hours = (self._set(position, size) for position, size in ((0, 60), (1, 24)))
        seconds = self._set(5, 60) if len(self._expanded) > 5 else {0}
        self.times = frozenset(h * 3600 + m * 60 + s for h, m, s in itertools.product(hours, minutes, seconds))
        clock = [part for position, part in enumerate(self.text.split()) if position in {0, 1, 5}]
        self.fixed = all(part.replace(",", "").isdigit() for part in clock)

    def _set(self, position: int, size: int) -> set[int]:
        values = self._expanded[position]
        return set(range(size)) if values == ["*"] else {int(value) for value in values}

    def matches(self, local: int) -> bool:
        """Whether the local time `local` (seconds since the epoch as if UTC) matches."""
        number, time = divmod(local, 86400)
        if time not in self.times:
            return False
        if number not in self._days:
            self._days[number] = self._matches_day(date.fromordinal(EPOCH_ORDINAL + number))
        return self._days[number]

    def _matches_day(self, day: date) -> bool:
        _, _, days, months, weekdays = self._expanded[:5]
        years = self._expanded[6] if len(self._expanded) > 6 else ["*"]
        if not ((months == ["*"] or day.month in months) and (years == ["*"] or day.year in years)):
            return False
        last = (day + timedelta(days=1)).month != day.month
        on_day = day.day in days or (last and "l" in days)
        if self._nearest:
            on_day = any(day == nearest_working_day(day, wanted) for wanted in self._nearest)
        weekday = day.isoweekday() % 7
        on_weekday = weekday in weekdays
        if self._nth:
            last_such = (day + timedelta(days=7)).month != day.month
            which = self._nth.get(weekday, set())
            on_weekday = (day.day + 6) // 7 in which or (last_such and "l" in which)
        if days == ["*"]:
            return on_weekday or weekdays == ["*"]
        return on_day if weekdays == ["*"] else on_day or on_weekday


def nearest_working_day(month: date, wanted: int) -> date:
    """The day from Monday to Friday closest to day `wanted` (or the last one) of the same month."""
    days = [month.replace(day=number) for number in range(1, monthrange(month.year, month.month)[1] + 1)]
    target = days[min(wanted, len(days)) - 1]
    return min((day for day in days if day.isoweekday() <= 5), key=lambda day: abs(day - target))


def occurrences(expression: Expression, locals_of: Sequence[tuple[int, int]], step: int) -> Iterator[int]:
    """The moments after the first entry of `locals_of` at which `expression` is due, according to the contract.

    `locals_of` holds consecutive moments, `step` seconds apart, and what the clock shows at each.
    """
    shown = locals_of[0][1]
    for moment, local in locals_of[1:]:
        if not expression.fixed:
            due = expression.matches(local)
        else:
            # All times that the clock shows for the first time now, or has just skipped.
            due = False
            while shown < local:
                shown += step
                due = expression.matches(shown) or due
        if due:
            yield moment


@lru_cache(maxsize=8)
def clock(name: str, low: int, high: int, step: int = 60) -> list[tuple[int, int]]:
    """What a zone's clock shows every `step` seconds from `low` to `high`."""
    zone = zoneinfo.ZoneInfo(name)
    fromtimestamp = datetime.fromtimestamp
    second = timedelta(seconds=1)
    shown = []
    for moment in range(low, high + 1, step):
        offset = fromtimestamp(moment, zone).utcoffset()
        assert offset is not None
        shown.append((moment, moment + offset // second))
    return shown


@pytest.fixture(scope="session")
def iana() -> Sequence[Rules]:
    """All zones of the database."""
    return database()


@pytest.fixture(scope="session")
def changes() -> Callable[[Rules, int, int], list[Transition]]:
    """Function: the transitions of a zone from one year to another, inclusive."""
    return transitions_between


@pytest.fixture(scope="session")
def oracle() -> Callable[[str, str, int, int, int], list[int]]:
    """Function ``(text, zone, low, high, step)``: the moments in (low, high] with an occurrence by the contract."""

    def expected(text: str, name: str, low: int, high: int, step: int) -> list[int]:
        return list(occurrences(expression(text), clock(name, low, high, step), step))

    return expected


@pytest.fixture(scope="session")
def walked() -> Callable[[str], str]:
    """Function: an expression with the ranges that croniter misreads written out."""
    return by_walking


@pytest.fixture(scope="session")
def full_run(pytestconfig: pytest.Config) -> bool:
    """Whether `--thorough` asks for the checks that take minutes."""
    return bool(pytestconfig.getoption("--thorough", default=False))
