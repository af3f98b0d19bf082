"""Timezones as tables of UTC offsets, so that the scheduling math runs on integers.

All times are whole seconds: a *moment* is seconds since the epoch in UTC, a *local time* is what a wall clock shows,
counted in seconds as if it were UTC.
"""

from __future__ import annotations

import difflib
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from zoneinfo import ZoneInfo

from pyncette._validation.checks import shown

from .posix import PosixZone

DAY = 86_400

# A window spans 2**26 seconds, about two years. Computing its table takes a fifth of a millisecond.
WINDOW_BITS = 26
_A_RECENT_WINDOW = 26
# A local time is less than a day away from its moment, so a table that reaches a few days beyond both ends of its
# window covers every moment and every local time inside it.
_MARGIN = 4 * DAY

_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# No zone has ever changed twice within four days (a test checks all of them), so this step misses no change.
_CLOSEST = 2 * DAY
# datetime can't represent a moment whose local time is outside the years 1 to 9999.
_EARLIEST = (datetime(1, 1, 2, tzinfo=UTC) - _EPOCH) // _SECOND
_LATEST = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _SECOND


@dataclass(frozen=True, slots=True)
class Offsets:
    """The UTC offsets of a zone over one window of time.

    Segment ``i`` lasts from ``starts[i]`` until ``ends[i]``, and its clock shows the moment plus ``offsets[i]``.
    ``reached[i]`` is the local time that the clock had reached before segment ``i`` began: all earlier local times have
    been shown or jumped over. ``least[i]`` is the earliest local time that is shown from segment ``i`` on. Both have
    one more entry than there are segments.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    offsets: tuple[int, ...]
    reached: tuple[int, ...]
    least: tuple[int, ...]

    def segment(self, moment: int) -> int:
        """The index of the segment that contains `moment`."""
        return bisect_right(self.starts, moment) - 1

    def arrival(self, local: int) -> int:
        """The first moment at which the clock shows `local` or, if that is jumped over, a later time."""
        segment = bisect_right(self.reached, local) - 1
        return max(self.starts[segment], local - self.offsets[segment])


class Zone:
    """A timezone; compared and hashed by identity, one per name."""

    __slots__ = ("_epoch", "tzinfo")

    def __init__(self, tz: tzinfo) -> None:
        self.tzinfo: tzinfo = tz
        # `fromutc` expects a time in UTC that carries the zone.
        self._epoch = _EPOCH.replace(tzinfo=tz)

    def offset(self, moment: int) -> int:
        """Seconds that the zone is ahead of UTC at `moment`. Outside the years 1 to 9999, the value at their ends."""
        if not _EARLIEST <= moment <= _LATEST:
            moment = min(max(moment, _EARLIEST), _LATEST)
        offset = self.tzinfo.fromutc(self._epoch + timedelta(seconds=moment)).utcoffset()
        return (offset or timedelta(0)) // _SECOND


@lru_cache(maxsize=4096)
def offsets_near(zone: Zone, window: int) -> Offsets:
    """The offsets of `zone` for the moments and local times `t` with ``t >> WINDOW_BITS == window``."""
    low = (window << WINDOW_BITS) - _MARGIN
    high = ((window + 1) << WINDOW_BITS) + _MARGIN
    starts, offsets = [low], [zone.offset(low)]
    for before, after in pairwise([*range(low, high, _CLOSEST), high]):
        target = zone.offset(after)
        while offsets[-1] != target:
            starts.append(_first_change(zone, max(before, starts[-1]), after, offsets[-1]))
            offsets.append(zone.offset(starts[-1]))
    ends = [*starts[1:], high]
    reached = [low - DAY]
    for end, offset in zip(ends, offsets, strict=True):
        reached.append(max(reached[-1], end + offset))
    least = [high + offsets[-1]]
    for start, offset in zip(reversed(starts), reversed(offsets), strict=True):
        least.append(min(least[-1], start + offset))
    return Offsets(tuple(starts), tuple(ends), tuple(offsets), tuple(reached), tuple(reversed(least)))


def _first_change(zone: Zone, low: int, high: int, offset: int) -> int:
    """A moment in ``(low, high]`` at which the zone changes from `offset`, which applies at `low` but not at `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        if zone.offset(middle) == offset:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=2048)
def find_zone(name: str) -> Zone:
    """The zone `name`: an IANA name or a POSIX TZ rule. The result is the same on every machine.

    :raises ValueError: it is neither; the message suggests the nearest name.
    """
    found = ZoneInfo(name) if name in iana_names() else _posix(name)
    if found is None:
        raise ValueError(_refusal(name))
    return Zone(found)


@lru_cache(maxsize=1)
def iana_names() -> frozenset[str]:
    """The names in the IANA database. Other names that `zoneinfo` finds (``localtime``) differ between machines."""
    return frozenset((resources.files("tzdata") / "zones").read_text(encoding="utf-8").split())


def _posix(name: str) -> tzinfo | None:
    try:
        found = PosixZone(name)
        # Detects an offset of more than a day, which raises only when it is computed.
        offsets_near(Zone(found), _A_RECENT_WINDOW)
    except ValueError:
        return None
    return found


# Cached, because this takes a tenth of a second, and thousands of stored records may share an unknown name.
@lru_cache(maxsize=256)
def _refusal(name: str) -> str:
    nearest = _nearest(name[:100])
    advice = (
        f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else "write an IANA name like 'Europe/Berlin'"
    )
    return f"unknown timezone {shown(name)}: {advice}"


def _nearest(name: str) -> list[str]:
    if name.upper() in _ABBREVIATIONS:
        return [_ABBREVIATIONS[name.upper()]]
    names = sorted(iana_names())
    same = [known for known in names if known.lower() == name.lower()]
    place = name.lower().strip().replace(" ", "_")
    there = [known for known in names if "/" in known and known.rsplit("/", 1)[1].lower() == place]
    return same or there[:3] or difflib.get_close_matches(name, names, n=3)


# Abbreviations are not timezones: many are ambiguous, and none covers both summer and winter time.
_ABBREVIATIONS = {
    "ACST": "Australia/Adelaide",
    "AEDT": "Australia/Sydney",
    "AEST": "Australia/Sydney",
    "AKST": "America/Anchorage",
    "BRT": "America/Sao_Paulo",
    "BST": "Europe/London",
    "CDT": "America/Chicago",
    "CEST": "Europe/Berlin",
    "CST": "America/Chicago",
    "EDT": "America/New_York",
    "EEST": "Europe/Athens",
    "HKT": "Asia/Hong_Kong",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul",
    "MDT": "America/Denver",
    "MSK": "Europe/Moscow",
    "NZDT": "Pacific/Auckland",
    "NZST": "Pacific/Auckland",
    "PDT": "America/Los_Angeles",
    "PST": "America/Los_Angeles",
    "SGT": "Asia/Singapore",
    "WEST": "Europe/Lisbon",
}
