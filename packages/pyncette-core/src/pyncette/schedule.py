"""When a task is due: the next occurrence of a cron text, an interval or a single moment.

Pure: everything is computed from the arguments, in integers. Unless said otherwise a time is an integer count of
microseconds since the epoch in UTC. An occurrence is always later than the one before it, and none lies outside the
years that `datetime` can show.

In a timezone with daylight saving a cron text follows one of two rules:

- *Fixed-time* (hour, minute and second are values or lists of values): each local time runs once on each matching
  day. Where clocks jump forward over it, it runs at the first moment after the jump, together with all others that
  fell into the gap; where they show it twice, it runs the first time.
- *Elapsed-time* (any of the three has a wildcard, a range or a step): it runs whenever the clock shows a matching
  time, so both times where clocks go back, and not at all for times that were jumped over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from ._schedules.cron import CronError, Fields, parse
from ._schedules.zones import DAY, WINDOW_BITS, Zone, find_zone, offsets_near

__all__ = ["Cron", "CronError", "Interval", "Once", "Schedule", "make_schedule", "upcoming", "upcoming_of"]

_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LONGEST = timedelta(days=365_250) // _MICROSECOND
# Every zone's rules repeat after 400 years at most, once the last irregular change (in 2087 today) is past.
_ALL_RULES_SEEN = 600 * 366 * DAY


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron text and the timezone that it is read in (None: UTC).

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

    def first(self, now: int) -> int:
        """The first occurrence after `now`.

        :raises CronError: there is none.
        """
        found = self.following(now, now)
        if found is None:
            raise CronError(f"schedule {self.text!r} has no match in the future; correct its day, month or year field")
        return found

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
            found = _next_fixed(self._fields, self._zone, moment)
        else:
            found = _next_elapsed(self._fields, self._zone, moment)
        if found is None or (found := found * _SECOND) > _LATEST:
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

    def first(self, now: int) -> int:
        """One period after `now`.

        :raises ValueError: that is beyond the year 9999.
        """
        found = self.following(now, now)
        if found is None:
            raise ValueError("the interval leads beyond the year 9999; write a shorter one")
        return found

    def following(self, scheduled: int, now: int, fast_forward: bool = False) -> int | None:
        """One period after `scheduled`; with `fast_forward` as many as it takes not to be before `now`.

        None beyond the year 9999.
        """
        periods = max(1, -((scheduled - now) // self.period)) if fast_forward else 1
        found = scheduled + periods * self.period
        return found if found <= _LATEST else None


@dataclass(frozen=True, slots=True)
class Once:
    """A single occurrence, `at` a moment."""

    at: int

    @property
    def tz(self) -> tzinfo:
        """UTC."""
        return UTC

    def first(self, now: int) -> int:
        """The occurrence, be it past or future."""
        return self.at

    def following(self, scheduled: int, now: int, fast_forward: bool = False) -> int | None:
        """None: it does not repeat."""
        return None


Schedule = Cron | Interval | Once


def _next_fixed(fields: Fields, zone: Zone, moment: int) -> int | None:
    """The next occurrence after `moment` by the fixed-time rule; in seconds, as are all arguments.

    A local time is due at the first moment at which the clock shows it or a later one.
    """
    near = offsets_near(zone, moment >> WINDOW_BITS)
    segment = near.segment(moment)
    offset = near.offsets[segment]
    local = fields.after(max(moment + offset, near.reached[segment] - 1))
    if local is None:
        return None
    if local - offset < near.ends[segment]:
        return local - offset
    return offsets_near(zone, local >> WINDOW_BITS).arrival(local)


def _next_elapsed(fields: Fields, zone: Zone, moment: int) -> int | None:
    """The next occurrence after `moment` by the elapsed-time rule; in seconds, as are all arguments."""
    give_up = None
    moment += 1
    while True:
        near = offsets_near(zone, moment >> WINDOW_BITS)
        segment = near.segment(moment)
        offset = near.offsets[segment]
        seen = moment + offset - 1
        local = fields.after(seen)
        if local is not None and local - offset < near.ends[segment]:
            return local - offset
        moment = near.ends[segment]
        if near.least[segment + 1] <= seen:
            # Clocks go back to times that may match again.
            continue
        if local is None:
            return None
        # A text that only matches inside gaps, like "*/5 2 * 3 0#2" in New York, would be searched forever.
        give_up = give_up or local + _ALL_RULES_SEEN
        if local > give_up:
            return None
        # No clock shows `local` earlier than a day before that time in UTC.
        moment = max(moment, local - 2 * DAY)


def make_schedule(
    *,
    schedule: str | None = None,
    interval: timedelta | None = None,
    execute_at: datetime | None = None,
    timezone: str | None = None,
    now: int | None = None,
) -> Schedule:
    """The schedule that the parameters of a task declare.

    Exactly one of `schedule` (cron text), `interval` and `execute_at` is given; `timezone` only with `schedule`.
    A naive `execute_at` is local time. `now` is the moment from which a cron text needs a future match, the system
    clock's by default.

    :raises ValueError: the parameters contradict each other or a value is wrong; `CronError` for the cron text.
    :raises TypeError: a value has the wrong type.
    """
    given = (schedule is not None) + (interval is not None) + (execute_at is not None)
    if timezone is not None and schedule is None:
        raise ValueError("timezone= goes only with schedule=; for execute_at= write an aware datetime instead")
    if schedule is not None and given == 1:
        return _declared_cron(schedule, timezone, now)
    if interval is not None and given == 1:
        return Interval(_period(interval))
    if execute_at is not None and given == 1:
        return Once(_moment("execute_at", execute_at))
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

    Takes either a cron text or an interval. The iterator is lazy, and ends where a year field or the year 9999 does.
    A naive ``after`` is local time.

    :raises ValueError: at the call: neither or both are given, or a value that a task could not be declared with.
    :raises TypeError: at the call: a value is of a wrong type.
    """
    start = _start(after)
    # A preview of the past or of the far future says nothing against a text that has matches after now.
    now = min(start, _system_now())
    return _occurrences(make_schedule(schedule=schedule, interval=interval, timezone=timezone, now=now), start)


def upcoming_of(schedule: Schedule, after: datetime | None = None) -> Iterator[datetime]:
    """Like `upcoming`, for a schedule that was made before; a single occurrence shows up if it is after `after`."""
    return _occurrences(schedule, _start(after))


def _start(after: datetime | None) -> int:
    return _system_now() if after is None else _moment("after", after)


def _occurrences(schedule: Schedule, start: int) -> Iterator[datetime]:
    zone = schedule.tz
    if isinstance(schedule, Once):
        found = schedule.at if schedule.at > start else None
    else:
        found = schedule.following(start, start)
    while found is not None:
        try:
            shown = (_EPOCH + found * _MICROSECOND).astimezone(zone)
        except OverflowError:  # a day at the beginning of the year 1 or at the end of 9999 that the zone can't show
            if found > 0:
                return
        else:
            yield shown
        found = schedule.following(found, found)


def _system_now() -> int:
    return time.time_ns() // 1000


_shared_cron = lru_cache(maxsize=4096)(Cron)


def _declared_cron(text: str, timezone: str | None, now: int | None) -> Cron:
    if not isinstance(text, str):
        raise TypeError(f"schedule must be a cron text like '30 2 * * *', not {text!r}")
    if timezone is not None and not isinstance(timezone, str):
        raise TypeError(f"timezone must be a name like 'Europe/Berlin', not {timezone!r}")
    cron = _shared_cron(text, timezone)
    cron.first(_system_now() if now is None else now)
    return cron


def _period(interval: timedelta) -> int:
    if not isinstance(interval, timedelta):
        raise TypeError(f"interval must be a timedelta like timedelta(minutes=5), not {interval!r}")
    period = interval // _MICROSECOND
    if period <= 0:
        raise ValueError(f"interval must be positive, like timedelta(minutes=5), not {interval!r}")
    if period > _LONGEST:
        raise ValueError(f"interval must be at most 1,000 years, not {interval!r}")
    return period


def _moment(name: str, value: datetime) -> int:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime like datetime(2030, 1, 31, 12, 0, tzinfo=UTC), not {value!r}")
    try:
        aware = value if value.utcoffset() is not None else value.astimezone()
        moment = (aware - _EPOCH) // _MICROSECOND
    except (OverflowError, ValueError, OSError):
        moment = _LATEST + 1
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError(f"{name} must be within the years 1 to 9999 in UTC, not {value!r}")
    return moment
