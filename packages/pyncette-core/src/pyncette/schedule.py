"""When a task is due: the next occurrence of a cron expression, an interval or a single moment.

Pure, but for a warning that `make_schedule` logs: everything is computed from the arguments, in integers. Unless said
otherwise a time is an integer count of microseconds since the epoch in UTC. An occurrence is always later than the one
before it, and none is outside the years that `datetime` can show.

In a timezone with daylight saving a cron expression follows one of two rules:

- *Fixed-time* (hour, minute and second are values or lists of values): each local time runs once on each matching
  day. Where clocks jump forward over it, it runs at the first moment after the jump, together with all others that
  fell into the gap; where they show it twice, it runs the first time.
- *Elapsed-time* (any of the three has a wildcard, a range or a step): it runs whenever the clock shows a matching
  time, so both times where clocks go back, and not at all for times that were jumped over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from ._schedules import search
from ._schedules.cron import CronError, parse, warning_of
from ._schedules.fields import Fields
from ._schedules.moments import EARLIEST, LATEST, moment_of
from ._schedules.zones import Zone, find_zone
from ._validation.checks import shown

__all__ = [
    "Cron",
    "CronError",
    "Interval",
    "Once",
    "Schedule",
    "SkippedRange",
    "make_schedule",
    "upcoming",
    "upcoming_of",
]

logger: logging.Logger = logging.getLogger(__name__)

_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = timedelta(days=365_250) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class SkippedRange:
    """Successive occurrences of one schedule, in microseconds; there is at least one.

    :ivar first: the first of them.
    :ivar last: the last of them.
    :ivar count: how many there are.
    :ivar exact: False if there are more than `count`: a cron expression's are counted exactly up to 10,000, and in a
        range of up to 68 years.
    """

    first: int
    last: int
    count: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression and the timezone that it is read in (None: UTC).

    Making one accepts every text that can be parsed, also one that has no match any more: a stored schedule must stay
    readable. `make_schedule` is stricter. Instances share the parsed form.

    :raises CronError: the text is wrong.
    :raises ValueError: the timezone is unknown.
    """

    text: str
    timezone: str | None = None
    _fields: Fields = field(init=False, repr=False, compare=False)
    _zone: Zone | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fields", parse(self.text))
        object.__setattr__(self, "_zone", None if self.timezone is None else find_zone(self.timezone))

    def __reduce__(self) -> tuple[type[Cron], tuple[str, str | None]]:
        return Cron, (self.text, self.timezone)

    @property
    def tz(self) -> tzinfo:
        """The timezone in which occurrences are shown."""
        return UTC if self._zone is None else self._zone.tzinfo

    def first(self, now: int) -> int | None:
        """The first occurrence after `now`; None if there is none."""
        return self.following(now, now)

    def following(self, scheduled: int, now: int, fast_forward: bool = False) -> int | None:
        """The occurrence after the one at `scheduled`; with `fast_forward` one that is also not before `now`.

        None when there is none.
        """
        moment = scheduled // _SECOND
        if fast_forward:
            moment = max(moment, (now - 1) // _SECOND)
        if self._zone is None:
            found = self._fields.after(moment)
        elif self._fields.fixed:
            found = search.next_fixed(self._fields, self._zone, moment)
        else:
            found = search.next_elapsed(self._fields, self._zone, moment)
        if found is None or (found := found * _SECOND) > LATEST:
            return None
        return found

    def latest(self, scheduled: int, now: int) -> int:
        """The latest occurrence that is not after `now`; `scheduled`, an occurrence, if there is none after it."""
        found = self._latest(now)
        return scheduled if found is None else max(scheduled, found)

    def skipped(self, first: int, before: int) -> SkippedRange | None:
        """The occurrences from the one at `first` on that are earlier than `before`; None if there are none."""
        if first >= before:
            return None
        after, until = max(first, EARLIEST) // _SECOND, (min(before, LATEST + 1) - 1) // _SECOND
        count, exact = search.count(self._fields, self._zone, after, until)
        return SkippedRange(first, self.latest(first, before - 1), 1 + count, exact)

    def includes(self, moment: int) -> bool:
        """Whether `moment` is an occurrence."""
        return moment == self._latest(moment)

    def is_over(self, now: int) -> bool:
        """Whether it has a year field whose last match has passed; false if there never was a match."""
        limited = self._fields.days is not None and self._fields.days.years is not None
        return limited and self.first(now) is None and self._latest(now) is not None

    def _latest(self, moment: int) -> int | None:
        """The latest occurrence up to `moment`; None if there is none from the year 1 on."""
        second = min(max(moment, EARLIEST), LATEST) // _SECOND
        if self._zone is None:
            found = self._fields.on_or_before(second)
        elif self._fields.fixed:
            found = search.latest_fixed(self._fields, self._zone, second)
        else:
            found = search.latest_elapsed(self._fields, self._zone, second)
        if found is None or not EARLIEST <= (found := found * _SECOND) <= moment:
            return None
        return found


@dataclass(frozen=True, slots=True)
class Interval:
    """Every `period` microseconds, counted from the first occurrence."""

    period: int

    @property
    def tz(self) -> tzinfo:
        """UTC."""
        return UTC

    def first(self, now: int) -> int | None:
        """One period after `now`; None beyond the year 9999."""
        return self.following(now, now)

    def following(self, scheduled: int, now: int, fast_forward: bool = False) -> int | None:
        """One period after `scheduled`; with `fast_forward` as many as it takes not to be before `now`.

        None beyond the year 9999.
        """
        periods = max(1, -((scheduled - now) // self.period)) if fast_forward else 1
        found = scheduled + periods * self.period
        return found if found <= LATEST else None

    def latest(self, scheduled: int, now: int) -> int:
        """The latest occurrence that is not after `now`, counted from the one at `scheduled`; that if there is none."""
        return scheduled + max(0, (min(now, LATEST) - scheduled) // self.period) * self.period

    def skipped(self, first: int, before: int) -> SkippedRange | None:
        """The occurrences from the one at `first` on that are earlier than `before`; None if there are none."""
        if first >= before:
            return None
        last = self.latest(first, before - 1)
        return SkippedRange(first, last, 1 + (last - first) // self.period)

    def includes(self, moment: int) -> bool:
        """True: where its occurrences lie depends on where they began."""
        return True


@dataclass(frozen=True, slots=True)
class Once:
    """A single occurrence, `at` a moment."""

    at: int

    @property
    def tz(self) -> tzinfo:
        """UTC."""
        return UTC

    def first(self, now: int) -> int | None:
        """The occurrence, be it past or future."""
        return self.at

    def following(self, scheduled: int, now: int, fast_forward: bool = False) -> int | None:
        """None: it does not repeat."""
        return None

    def latest(self, scheduled: int, now: int) -> int:
        """`scheduled`: there is no other."""
        return scheduled

    def skipped(self, first: int, before: int) -> SkippedRange | None:
        """The occurrence at `first` if it is earlier than `before`."""
        return SkippedRange(first, first, 1) if first < before else None

    def includes(self, moment: int) -> bool:
        """Whether `moment` is the occurrence."""
        return moment == self.at


Schedule = Cron | Interval | Once


def make_schedule(
    *,
    schedule: str | None = None,
    interval: timedelta | None = None,
    execute_at: datetime | None = None,
    timezone: str | None = None,
    now: int | None = None,
    may_be_over: bool = False,
) -> Schedule:
    """The schedule that the parameters of a task declare.

    Exactly one of `schedule` (a cron expression), `interval` and `execute_at` is given; `timezone` only with
    `schedule`. A naive `execute_at` is local time. `now` is the moment from which a cron expression needs a future
    match, the system clock's by default. With `may_be_over` one whose years have passed will do: it once was right, and
    a program must not fail to start at New Year.

    :raises ValueError: the parameters contradict each other or a value is wrong; `CronError` for the cron expression.
    :raises TypeError: a value has the wrong type.
    """
    given = (schedule is not None) + (interval is not None) + (execute_at is not None)
    if timezone is not None and schedule is None:
        raise ValueError(
            "timezone= goes only with schedule=; for execute_at= and start_at= write an aware datetime instead"
        )
    if schedule is not None and given == 1:
        return _declared_cron(schedule, timezone, now, may_be_over)
    if interval is not None and given == 1:
        return Interval(_period(interval))
    if execute_at is not None and given == 1:
        return Once(moment_of("execute_at", execute_at))
    trouble = "more than one schedule" if given else "no schedule"
    raise ValueError(
        f"{trouble}: give exactly one of schedule='30 2 * * *', interval=timedelta(minutes=5), execute_at=datetime(...)"
    )


def upcoming(
    *,
    schedule: str | None = None,
    interval: timedelta | None = None,
    timezone: str | None = None,
    after: datetime | None = None,
) -> Iterator[datetime]:
    """Iterate over the occurrences after ``after`` (default: now), as aware datetimes in ``timezone`` (default: UTC).

    Takes either a cron expression or an interval. The iterator is lazy, and ends where a year field or the year 9999
    does. A naive ``after`` is local time.

    :raises ValueError: at the call: neither or both are given, or a value that a task could not be declared with.
    :raises TypeError: at the call: a value has the wrong type.
    """
    start = _start(after)
    # Check for matches from now on even if the preview begins in the far future, and from its start if that is past.
    now = min(start, _system_now())
    return _occurrences(make_schedule(schedule=schedule, interval=interval, timezone=timezone, now=now), start)


def upcoming_of(schedule: Schedule, after: datetime | None = None) -> Iterator[datetime]:
    """Like `upcoming`, for a schedule that was made before; a single occurrence shows up if it is after `after`."""
    return _occurrences(schedule, _start(after))


def _start(after: datetime | None) -> int:
    return _system_now() if after is None else moment_of("after", after)


def _occurrences(schedule: Schedule, start: int) -> Iterator[datetime]:
    zone = schedule.tz
    if isinstance(schedule, Once):
        found = schedule.at if schedule.at > start else None
    else:
        found = schedule.following(start, start)
    while found is not None:
        try:
            shown = (_EPOCH + found * _MICROSECOND).astimezone(zone)
        except OverflowError:  # a day at the beginning of the year 1 that the zone can't represent
            pass
        else:
            yield shown
        found = schedule.following(found, found)


def _system_now() -> int:
    return time.time_ns() // 1000


@lru_cache(maxsize=4096)
def _shared_cron(text: str, timezone: str | None) -> Cron:
    cron = Cron(text, timezone)
    if warning := warning_of(text):
        logger.warning(warning)
    return cron


def _declared_cron(text: str, timezone: str | None, now: int | None, may_be_over: bool) -> Cron:
    if not isinstance(text, str):
        raise TypeError(f"schedule must be a cron expression like '30 2 * * *', not {shown(text)}")
    if timezone is not None and not isinstance(timezone, str):
        raise TypeError(f"timezone must be a name like 'Europe/Berlin', not {shown(timezone)}")
    cron = _shared_cron(text, timezone)
    now = _system_now() if now is None else now
    if cron.first(now) is None and not (may_be_over and cron.is_over(now)):
        raise CronError(f"schedule {shown(text)} has no match in the future; correct its day, month or year field")
    return cron


def _period(interval: timedelta) -> int:
    if not isinstance(interval, timedelta):
        raise TypeError(f"interval must be a timedelta like timedelta(minutes=5), not {shown(interval)}")
    period = interval // _MICROSECOND
    if period <= 0:
        raise ValueError(f"interval must be positive, like timedelta(minutes=5), not {shown(interval)}")
    if period > _LONGEST:
        raise ValueError(f"interval must be at most 1,000 years, not {shown(interval)}")
    return period
