"""Occurrences of a cron expression in a timezone: the next, the latest, how many.

All times are whole seconds: a *moment* is seconds since the epoch in UTC, a *local time* is what a clock on the wall
shows, counted in seconds as if it were UTC. The two rules, fixed-time and elapsed-time, are those of
:mod:`pyncette.schedule`.
"""

from __future__ import annotations

from .fields import Fields
from .zones import DAY, WINDOW_BITS, Offsets, Zone, offsets_near

# Every zone's rules repeat after 400 years at most, once the last irregular change (in 2087 today) is past.
_ALL_RULES_SEEN = 600 * 366 * DAY

# Occurrences are counted exactly up to this many, whatever the range, ...
_COUNTED = 10_000
# ... and in this many windows of a zone's offsets, 68 years, however many there are.
_COUNTED_WINDOWS = 32


def next_fixed(fields: Fields, zone: Zone, moment: int) -> int | None:
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
            # Clocks go back to times that may match again.
            continue
        if local is None:
            return None
        # An expression that only matches inside gaps, like "*/5 2 * 3 0#2" in New York, would be searched forever.
        give_up = give_up or local + _ALL_RULES_SEEN
        if local > give_up:
            return None
        # No clock shows `local` earlier than a day before that time in UTC.
        moment = max(moment, local - 2 * DAY)


def latest_fixed(fields: Fields, zone: Zone, moment: int) -> int | None:
    """The latest occurrence up to `moment` by the fixed-time rule."""
    local = fields.on_or_before(_come_to(offsets_near(zone, moment >> WINDOW_BITS), moment))
    return None if local is None else offsets_near(zone, local >> WINDOW_BITS).arrival(local)


def _come_to(near: Offsets, moment: int) -> int:
    """The latest local time that clocks have shown, or jumped over, up to `moment`."""
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
            # Clocks went back: before that they showed times that may match again.
            continue
        if local is None:
            return None
        give_up = give_up or local - _ALL_RULES_SEEN
        if local < give_up:
            return None
        # No clock shows `local` later than a day after that time in UTC.
        moment = min(moment, local + 2 * DAY)


def count(fields: Fields, zone: Zone | None, after: int, until: int) -> tuple[int, bool]:
    """How many occurrences are later than `after` and not later than `until`, and whether those are all.

    A count that would take long is ended early, and then is a lower bound.
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
    found = fields.count(_come_to(near, after), _come_to(near, until))
    for segment in range(1, len(near.starts)):
        start = near.starts[segment]
        if after < start <= until:
            # All times that are jumped over run as one, and with what is due at that moment anyway.
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
