"""A parsed cron expression: which local times match.

A *local time* is what a wall clock shows, in whole seconds since the epoch as if it were UTC. :mod:`.search` maps it to
moments in a timezone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import isleap, monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

# The calendar repeats every 400 years, weekdays included. Months are counted from January 1970.
_FIRST_YEAR = 1970
_CYCLE_MONTHS = 4800
_CYCLE_DAYS = 146_097
_FIRST_DAY = -719_162  # 0001-01-01
_LAST_DAY = 2_932_896  # 9999-12-31
_DAY_SECONDS = 86_400


def _month_lengths() -> Sequence[int]:
    years = range(_FIRST_YEAR, _FIRST_YEAR + 400)
    lengths = {leap: [monthrange(2000 if leap else 2001, month)[1] for month in range(1, 13)] for leap in (True, False)}
    return [length for year in years for length in lengths[isleap(year)]]


_LENGTHS = _month_lengths()
# The first day of each month of the cycle, in days since 1970-01-01.
_STARTS = tuple(accumulate(_LENGTHS[:-1], initial=0))
# A month's calendar depends only on its length and the weekday of its first day, which makes 28 kinds. The 4 is for
# 1970-01-01, a Thursday.
_KINDS = bytes((length - 28) * 7 + (start + 4) % 7 for length, start in zip(_LENGTHS, _STARTS, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """The days on which a cron expression matches, for those that don't match every day."""

    masks: tuple[int, ...]  # the matching days of each kind of month, the first day in bit 0
    months: int  # bit 0 is January
    years: frozenset[int] | None

    def on_or_after(self, day: int) -> int | None:
        """The first matching day from `day` on, in days since 1970-01-01; None if there is none."""
        cycle, within = divmod(day, _CYCLE_DAYS)
        index = bisect_right(_STARTS, within) - 1
        if self.months >> index % 12 & 1 and (self.years is None or _year(cycle, index) in self.years):
            rest = self.masks[_KINDS[index]] >> (within - _STARTS[index])
            if rest:
                return day + _lowest(rest)
        return self._in_later_month(cycle * _CYCLE_MONTHS + index + 1)

    def _in_later_month(self, month: int) -> int | None:
        if self.years is not None:
            month = max(month, (min(self.years) - _FIRST_YEAR) * 12)
        for candidate in range(month, month + _CYCLE_MONTHS):
            if not self.months >> candidate % 12 & 1:
                continue
            cycle, index = divmod(candidate, _CYCLE_MONTHS)
            if self.years is not None:
                year = _year(cycle, index)
                if year > max(self.years):
                    return None
                if year not in self.years:
                    continue
            mask = self.masks[_KINDS[index]]
            if mask:
                return cycle * _CYCLE_DAYS + _STARTS[index] + _lowest(mask)
        return None

    def on_or_before(self, day: int) -> int | None:
        """The last matching day up to `day`, in days since 1970-01-01; None if there is none."""
        cycle, within = divmod(day, _CYCLE_DAYS)
        index = bisect_right(_STARTS, within) - 1
        month = cycle * _CYCLE_MONTHS + index
        mask = self._mask(month) & ((2 << within - _STARTS[index]) - 1)
        if mask:
            return day - (within - _STARTS[index]) + mask.bit_length() - 1
        return self._in_earlier_month(month - 1)

    def _in_earlier_month(self, month: int) -> int | None:
        if self.years is None:
            earliest = month - _CYCLE_MONTHS
        else:
            month = min(month, (max(self.years) - _FIRST_YEAR) * 12 + 11)
            earliest = max(month - _CYCLE_MONTHS, (min(self.years) - _FIRST_YEAR) * 12 - 1)
        for candidate in range(month, earliest, -1):
            if mask := self._mask(candidate):
                cycle, index = divmod(candidate, _CYCLE_MONTHS)
                return cycle * _CYCLE_DAYS + _STARTS[index] + mask.bit_length() - 1
        return None

    def count(self, first: int, last: int) -> int:
        """How many days match from `first` to `last`, both inclusive."""
        if last < first:
            return 0
        cycles = 0 if self.years is not None else (last - first) // _CYCLE_DAYS
        last -= cycles * _CYCLE_DAYS
        found = cycles * sum(map(self._days_in, range(_CYCLE_MONTHS))) if cycles else 0
        (begin, before), (end, through) = _month(first), _month(last)
        found -= (self._mask(begin) & ((1 << before) - 1)).bit_count()
        found += (self._mask(end) & ((2 << through) - 1)).bit_count()
        return found + sum(map(self._days_in, range(begin, end)))

    def _mask(self, month: int) -> int:
        """The matching days of a month, counted from January 1970; the first day in bit 0."""
        index = month % _CYCLE_MONTHS
        if not self.months >> index % 12 & 1:
            return 0
        if self.years is not None and _FIRST_YEAR + month // 12 not in self.years:
            return 0
        return self.masks[_KINDS[index]]

    def _days_in(self, month: int) -> int:
        return self._mask(month).bit_count()


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """A parsed cron expression.

    `fixed` distinguishes fixed-time expressions (hour, minute and second are all values or lists of them) from
    elapsed-time ones. Entry ``v`` of `hours`, `minutes` and `seconds` is the smallest matching value from ``v`` on;
    the last entry is the largest matching value. `values` holds the matching values of the three, sorted.
    """

    fixed: bool
    hours: bytes
    minutes: bytes
    seconds: bytes
    values: tuple[bytes, bytes, bytes]
    days: Days | None
    first: int  # the first time of day that matches, in seconds
    last: int  # the last one

    def after(self, local: int) -> int | None:
        """The first matching local time that is strictly later than `local`; None if there is none by the year 9999."""
        day, time = divmod(local, _DAY_SECONDS)
        if time >= self.last:
            day += 1
            time = self.first
        else:
            time = self._time_on_or_after(time + 1)
        if self.days is not None:
            found = self.days.on_or_after(day)
            if found is None:
                return None
            if found != day:
                day = found
                time = self.first
        return day * _DAY_SECONDS + time if day <= _LAST_DAY else None

    def _time_on_or_after(self, time: int) -> int:
        """The first matching time of day from `time` on, which is at most `last`."""
        hours, minutes, seconds = self.hours, self.minutes, self.seconds
        minute, second = divmod(time, 60)
        hour, minute = divmod(minute, 60)
        if second >= len(seconds):
            minute += 1
            second = 0
        if minute >= len(minutes):
            hour += 1
            minute = second = 0
        if hours[hour] != hour:
            return hours[hour] * 3600 + self.first % 3600
        if minutes[minute] != minute:
            return hour * 3600 + minutes[minute] * 60 + seconds[0]
        return hour * 3600 + minute * 60 + seconds[second]

    def on_or_before(self, local: int) -> int | None:
        """The last matching local time up to `local`; None if there is none from the year 1 on."""
        day, time = divmod(local, _DAY_SECONDS)
        number = self._times_until(time)
        if number == 0:
            day -= 1
        if self.days is not None:
            found = self.days.on_or_before(day)
            if found is None:
                return None
            if found != day:
                day = found
                number = 0
        if day < _FIRST_DAY:
            return None
        return day * _DAY_SECONDS + (self._time(number) if number else self.last)

    def count(self, after: int, until: int) -> int:
        """How many matching local times are later than `after` and not later than `until`."""
        if until <= after:
            return 0
        first, before = divmod(after, _DAY_SECONDS)
        last, through = divmod(until, _DAY_SECONDS)
        hours, minutes, seconds = self.values
        daily = len(hours) * len(minutes) * len(seconds)
        if self.days is None:
            found = (last - first) * daily
            return found + self._times_until(through) - self._times_until(before)
        found = self.days.count(first, last - 1) * daily
        if self.days.count(first, first):
            found -= self._times_until(before)
        if self.days.count(last, last):
            found += self._times_until(through)
        return found

    def _times_until(self, time: int) -> int:
        """How many matching times of day there are up to `time`."""
        hours, minutes, seconds = self.values
        minute, second = divmod(time, 60)
        hour, minute = divmod(minute, 60)
        at = bisect_left(hours, hour)
        found = at * len(minutes) * len(seconds)
        if at < len(hours) and hours[at] == hour:
            at = bisect_left(minutes, minute)
            found += at * len(seconds)
            if at < len(minutes) and minutes[at] == minute:
                found += bisect_right(seconds, second)
        return found

    def _time(self, number: int) -> int:
        """The `number`-th matching time of day, counted from 1."""
        hours, minutes, seconds = self.values
        rest, second = divmod(number - 1, len(seconds))
        hour, minute = divmod(rest, len(minutes))
        return hours[hour] * 3600 + minutes[minute] * 60 + seconds[second]


def _month(day: int) -> tuple[int, int]:
    """The month that contains a day, counted from January 1970, and how many of its days are before that day."""
    cycle, within = divmod(day, _CYCLE_DAYS)
    index = bisect_right(_STARTS, within) - 1
    return cycle * _CYCLE_MONTHS + index, within - _STARTS[index]


def _year(cycle: int, index: int) -> int:
    return _FIRST_YEAR + cycle * 400 + index // 12


def _lowest(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
