"""Occurrences of a cron expression in a timezone: the next, the latest, how many.

All times are whole seconds: a *moment* is seconds since the epoch in UTC, a *local time* is what a wall clock shows,
counted in seconds as if it were UTC. :mod:`pyncette.schedule` explains the two rules, fixed-time and elapsed-time.
"""

from __future__ import annotations

from .fields import Fields
from .zones import DAY, WINDOW_BITS, Offsets, Zone, offsets_near

# After the last irregular change (currently in 2087), every zone's rules repeat within 400 years.
_ALL_RULES_SEEN = 600 * 366 * DAY

# Occurrences are counted exactly up to this number, whatever the range, ...
_COUNTED = 10_000
# ... and within this many windows of a zone's offsets, which are 68 years, whatever their number.
_COUNTED_WINDOWS = 32


def next_fixed(fields: Fields, zone: Zone, moment: int) -> int | None:
    """The next occurrence after `moment` by the fixed-time rule; in seconds, as are all arguments.

    A local time is due at the first moment at which the clock shows it, or a later time.
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


def next_elapsed(fields: Fields, zone: Zone, moment: int) -> int | None:
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
            # The clock is set back, to times that may match again.
            continue
        if local is None:
            return None
        # Without a limit, an expression that matches only in gaps, like "*/5 2 * 3 0#2" in New York, would never end.
        give_up = give_up or local + _ALL_RULES_SEEN
        if local > give_up:
            return None
        # Offsets are less than a day, so no clock shows `local` more than a day before that time in UTC.
        moment = max(moment, local - 2 * DAY)


def latest_fixed(fields: Fields, zone: Zone, moment: int) -> int | None:
    """The latest occurrence up to `moment` by the fixed-time rule."""
    local = fields.on_or_before(_reached_local_time(offsets_near(zone, moment >> WINDOW_BITS), moment))
    return None if local is None else offsets_near(zone, local >> WINDOW_BITS).arrival(local)


def _reached_local_time(near: Offsets, moment: int) -> int:
    """The latest local time that the clock has shown or jumped over by `moment`."""
    segment = near.segment(moment)
    return max(moment + near.offsets[segment], near.reached[segment] - 1)


def latest_elapsed(fields: Fields, zone: Zone, moment: int) -> int | None:
    """The latest occurrence up to `moment` by the elapsed-time rule."""
    give_up = None
    while True:
        near = offsets_near(zone, moment >> WINDOW_BITS)
        segment = near.segment(moment)
        offset = near.offsets[segment]
        seen = moment + offset
        local = fields.on_or_before(seen)
        if local is not None and local - offset >= near.starts[segment]:
            return local - offset
        moment = near.starts[segment] - 1
        if near.reached[segment] - 1 > seen:
            # The clock was set back: before that, it showed times that may match again.
            continue
        if local is None:
            return None
        give_up = give_up or local - _ALL_RULES_SEEN
        if local < give_up:
            return None
        # Offsets are less than a day, so no clock shows `local` more than a day after that time in UTC.
        moment = min(moment, local + 2 * DAY)


def count(fields: Fields, zone: Zone | None, after: int, until: int) -> tuple[int, bool]:
    """How many occurrences are later than `after` and not later than `until`, and whether those are all.

    A count that would take long ends early, and is then a lower bound.
    """
    if until <= after:
        return 0, True
    if zone is None:
        return fields.count(after, until), True
    found, first, last = 0, after >> WINDOW_BITS, until >> WINDOW_BITS
    count_in = _count_fixed if fields.fixed else _count_elapsed
    for window in range(first, last + 1):
        if window - first > _COUNTED_WINDOWS and found >= _COUNTED:
            return found, False
        begin, end = window << WINDOW_BITS, (window + 1) << WINDOW_BITS
        found += count_in(fields, zone, max(after, begin - 1), min(until, end - 1))
    return found, True


def _count_fixed(fields: Fields, zone: Zone, after: int, until: int) -> int:
    """In ``(after, until]``, which is in one window (but for `after`, which may end the one before)."""
    near = offsets_near(zone, until >> WINDOW_BITS)
    found = fields.count(_reached_local_time(near, after), _reached_local_time(near, until))
    for segment in range(1, len(near.starts)):
        start = near.starts[segment]
        if after < start <= until:
            # All times that were jumped over run as one, together with whatever is due at that moment.
            together = fields.count(near.reached[segment] - 1, start + near.offsets[segment])
            found -= max(0, together - 1)
    return found


def _count_elapsed(fields: Fields, zone: Zone, after: int, until: int) -> int:
    """In ``(after, until]``, which is in one window (but for `after`, which may end the one before)."""
    near = offsets_near(zone, until >> WINDOW_BITS)
    found = 0
    for start, end, offset in zip(near.starts, near.ends, near.offsets, strict=True):
        found += fields.count(max(after, start - 1) + offset, min(until, end - 1) + offset)
    return found
