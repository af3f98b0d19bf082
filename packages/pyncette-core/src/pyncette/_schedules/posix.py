"""POSIX TZ rules such as ``EST5EDT,M3.2.0,M11.1.0``, which `zoneinfo` reads at the end of a timezone file."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from io import BytesIO
from zoneinfo import ZoneInfo

_NAME, _OFFSET, _DATE = "([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)", "[+-]?[0-9:]+", ",[JM][0-9.]+(/[+-]?[0-9:]+)?"
# Dates given as zero-based days of the year are not supported, because zoneinfo is off by one day.
_RULE = re.compile(f"{_NAME}{_OFFSET}({_NAME}({_OFFSET})?({_DATE}){{2}})?")
# In POSIX, positive offsets are west of UTC; everywhere else they are east of it.
_FROM_UTC = re.compile(r"(UTC|GMT)([+-]?)([0-9]{1,2}(?::[0-9]{2})?)")


class PosixZone(tzinfo):
    """The timezone of a rule.

    A separate class, because a `ZoneInfo` that was not found by name can't be pickled, and neither can its datetimes.

    :raises ValueError: the text is not a rule, or has daylight saving without dates.
    """

    def __init__(self, rule: str) -> None:
        if len(rule) > 100 or _RULE.fullmatch(rule) is None:
            raise ValueError(f"not a POSIX TZ rule: {rule!r}")
        self._rule = rule
        self._zone = ZoneInfo.from_file(BytesIO(_file(_posix(rule))), key=rule)

    def fromutc(self, moment: datetime) -> datetime:
        return self._zone.fromutc(moment.replace(tzinfo=self._zone)).replace(tzinfo=self)

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return self._zone.utcoffset(self._inner(moment))

    def dst(self, moment: datetime | None) -> timedelta | None:
        return self._zone.dst(self._inner(moment))

    def tzname(self, moment: datetime | None) -> str | None:
        return self._zone.tzname(self._inner(moment))

    def _inner(self, moment: datetime | None) -> datetime | None:
        return None if moment is None else moment.replace(tzinfo=self._zone)

    def __reduce__(self) -> tuple[type[PosixZone], tuple[str]]:
        return PosixZone, (self._rule,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PosixZone) and other._rule == self._rule

    def __hash__(self) -> int:
        return hash(self._rule)

    def __repr__(self) -> str:
        return f"PosixZone({self._rule!r})"


def _posix(rule: str) -> str:
    """Invert the sign of ``UTC+3``, by which users mean three hours ahead of UTC. POSIX writes that with a minus."""
    match = _FROM_UTC.fullmatch(rule)
    return rule if match is None else f"{match[1]}{'+' if match[2] == '-' else '-'}{match[3]}"


def _file(rule: str) -> bytes:
    """A timezone file (RFC 9636) without transitions, so that the rule at its end always applies."""
    one_type = bytes(6) + b"UTC\0"
    counts = bytes(16) + (1).to_bytes(4, "big") + (4).to_bytes(4, "big")  # counts of unused parts, types, letters
    block = b"TZif2" + bytes(15) + counts + one_type
    return block + block + f"\n{rule}\n".encode()
