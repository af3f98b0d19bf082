"""Zones as tables of offsets."""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any

import dateutil.tz
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._schedules.zones import WINDOW_BITS, Zone, find_zone, offsets_near
from pyncette.schedule import Cron, make_schedule

# Whole windows from 1880 to 2035; from 2037 on the files have a rule instead of single transitions.
BEGIN, END = -42 << WINDOW_BITS, 31 << WINDOW_BITS


@pytest.mark.timeout(300)
def test_no_transition_of_the_database_is_missed_and_none_invented(iana: Sequence[Any]) -> None:
    seen = set()
    checked = 0
    for rules in iana:
        zone = find_zone(rules.names[0])
        windows: dict[int, list[Any]] = {}
        for change in rules.transitions:
            if BEGIN <= change.at < END:
                windows.setdefault(change.at >> WINDOW_BITS, []).append(change)
        for window, changes in windows.items():
            if (window, *changes) not in seen:
                seen.add((window, *changes))
                table = offsets_near(zone, window)
                inside = [start for start in table.starts[1:] if start >> WINDOW_BITS == window]
                assert inside == [change.at for change in changes], rules.names
                at = [table.segment(change.at) for change in changes]
                assert [table.offsets[segment] for segment in at] == [change.after for change in changes]
                assert [table.offsets[segment - 1] for segment in at] == [change.before for change in changes]
                checked += len(changes)
    assert checked > 5_000


def test_changes_are_far_enough_apart_to_be_found_by_looking_every_other_day(iana: Sequence[Any]) -> None:
    for rules in iana:
        moments = [change.at for change in rules.transitions]
        gaps = (later - earlier for earlier, later in pairwise(moments))
        assert min(gaps, default=1 << 62) > 3 * 86400, rules.names


class Strange(tzinfo):
    """A timezone that only knows its offset."""

    def __init__(self, offset_at: Callable[[datetime], timezone | None]) -> None:
        self.offset_at = offset_at

    def fromutc(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=self.offset_at(moment.replace(tzinfo=UTC)))

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        raise NotImplementedError

    dst = utcoffset

    def tzname(self, moment: datetime | None) -> str:
        raise NotImplementedError


def test_two_changes_within_a_day() -> None:
    start = datetime(2026, 6, 1, tzinfo=UTC)

    def offset_at(moment: datetime) -> timezone:
        hours = (moment - start) // timedelta(hours=1)
        return timezone(timedelta(minutes=0 if hours < 5 else 45 if hours < 11 else -90 if hours < 170 else 0))

    begin = int(start.timestamp())
    table = offsets_near(Zone(Strange(offset_at)), begin >> WINDOW_BITS)
    assert [(start - begin) // 3600 for start in table.starts[1:]] == [5, 11, 170]
    assert table.offsets == (0, 45 * 60, -90 * 60, 0)


def test_what_clocks_have_reached_and_will_show_again() -> None:
    change = int(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp())  # in Berlin 03:00 becomes 02:00
    table = offsets_near(find_zone("Europe/Berlin"), change >> WINDOW_BITS)
    segment = table.segment(change)
    assert table.starts[segment] == table.ends[segment - 1] == change
    assert table.reached[segment] == change + 7200
    assert table.least[segment] == change + 3600
    assert table.arrival(change + 3600) == change - 3600  # 02:00 is first shown before the change
    assert table.arrival(change + 7200) == change + 3600


@pytest.mark.parametrize("moment", [-(1 << 60), -62_135_596_800, 253_402_300_799, 1 << 60])
@pytest.mark.parametrize("name", ["Pacific/Kiritimati", "America/Adak", "Europe/Dublin", "UTC"])
def test_beyond_the_years_of_datetime_the_offset_stays(name: str, moment: int) -> None:
    zone = find_zone(name)
    edge = datetime(1, 1, 2, tzinfo=UTC) if moment < 0 else datetime(9999, 12, 31, tzinfo=UTC)
    expected = edge.astimezone(zoneinfo.ZoneInfo(name)).utcoffset()
    assert expected is not None
    assert zone.offset(moment) == expected // timedelta(seconds=1)
    assert zone.offset(moment) in offsets_near(zone, moment >> WINDOW_BITS).offsets


def test_a_zone_without_an_offset_is_utc() -> None:
    assert Zone(Strange(lambda _: None)).offset(0) == 0


def test_iana_names_are_zoneinfo_zones() -> None:
    for name in zoneinfo.available_timezones():
        assert find_zone(name).tzinfo is zoneinfo.ZoneInfo(name)


@pytest.mark.parametrize("name", ["UTC+3", "EST5EDT4,M3.2.0,M11.1.0", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_other_names_are_left_to_dateutil(name: str) -> None:
    assert find_zone(name).tzinfo == dateutil.tz.gettz(name)


@pytest.mark.skipif(not zoneinfo.TZPATH, reason="this system has no timezone files")
def test_a_path_is_left_to_dateutil() -> None:
    path = next(path for folder in zoneinfo.TZPATH if os.path.isfile(path := os.path.join(folder, "Europe/Berlin")))
    cron = make_schedule(schedule="0 12 * * *", timezone=path)
    assert cron.first(1_785_000_000_000_000) == make_schedule(schedule="0 12 * * *", timezone="Europe/Berlin").first(
        1_785_000_000_000_000
    )


@pytest.mark.parametrize(
    "name, advice",
    [
        ("Europe/Berln", "'Europe/Berlin'"),
        ("europe/berlin", "'Europe/Berlin'"),
        ("qqqq", "write for example 'Europe/Berlin'"),
        ("", "write for example"),
        (" ", "write for example"),
        ("America", "'America/"),
        ("/etc/passwd", "write for example"),
        ("../../../etc/passwd", "write for example"),
        ("Europe/Berlin\0", "'Europe/Berlin'"),
        ("\ud800", "write for example"),
        ("UTC+99999999", "write for example"),
        # dateutil takes these, though no time can be shown with them
        ("UTC+25", "unknown timezone 'UTC+25'"),
        ("EST5EDT-24:30", "unknown timezone"),
    ],
)
def test_an_unknown_name_is_refused(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match="unknown timezone") as caught:
        Cron("0 0 * * *", name)
    assert advice in str(caught.value)


@given(name=st.text(max_size=12))
def test_any_text_is_a_zone_or_a_value_error(name: str) -> None:
    refusal = ""
    try:
        assert abs(find_zone(name).offset(0)) < 86400
    except ValueError as error:
        refusal = str(error)
    assert not refusal or "unknown timezone" in refusal


def test_a_zone_is_found_once() -> None:
    assert find_zone("Asia/Kathmandu") is find_zone("Asia/Kathmandu")
