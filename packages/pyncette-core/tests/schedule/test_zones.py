"""Zones as tables of offsets."""

from __future__ import annotations

import copy
import os
import pickle
import time as clock
import zoneinfo
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._schedules.zones import WINDOW_BITS, Zone, find_zone, iana_names, offsets_near
from pyncette.schedule import Cron

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
    """A timezone that only implements its offset."""

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


def test_reached_and_repeated_local_times() -> None:
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
    for name in iana_names():
        assert find_zone(name).tzinfo is zoneinfo.ZoneInfo(name)


@pytest.mark.parametrize(
    "name, same",
    [
        ("EST5EDT,M3.2.0,M11.1.0", "America/New_York"),
        ("EST5EDT4,M3.2.0/2,M11.1.0/2:00:00", "America/New_York"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "Europe/Berlin"),
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", "Pacific/Auckland"),
        ("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "Australia/Lord_Howe"),
        ("IST-1GMT0,M10.5.0,M3.5.0/1", "Europe/Dublin"),
        ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "America/Nuuk"),
        ("<+03>-3", "Europe/Istanbul"),
        ("JST-9", "Asia/Tokyo"),
        ("IST-5:30", "Asia/Kolkata"),
    ],
)
def test_posix_rules(name: str, same: str) -> None:
    rule, zone = find_zone(name), find_zone(same)
    for window in range(27, 40):  # from 2027 on
        ours, theirs = offsets_near(rule, window), offsets_near(zone, window)
        assert (ours.starts, ours.offsets) == (theirs.starts, theirs.offsets)


def test_days_of_the_year_in_posix_rules() -> None:
    """``J60`` is 1 March in every year."""
    zone = find_zone("EST5EDT,J60,J300").tzinfo
    for year in (2027, 2028):
        before = datetime(year, 3, 1, 1, 59, tzinfo=zone)
        assert before.utcoffset() == timedelta(hours=-5)
        assert (before + timedelta(minutes=61)).utcoffset() == timedelta(hours=-4)


@pytest.mark.parametrize("name, hours", [("UTC+3", 3), ("UTC-3", -3), ("GMT+5:30", 5.5), ("UTC3", 3)])
def test_hours_from_utc_are_eastward(name: str, hours: float) -> None:
    assert find_zone(name).offset(0) == hours * 3600


def test_a_moment_by_a_posix_rule_can_be_copied_and_pickled() -> None:
    zone = find_zone("EST5EDT,M3.2.0,M11.1.0").tzinfo
    moment = datetime(2026, 7, 1, 12, tzinfo=zone)
    assert pickle.loads(pickle.dumps(moment)) == copy.deepcopy(moment) == moment  # noqa: S301 - pickled just now
    assert pickle.loads(pickle.dumps(zone)) == zone  # noqa: S301 - pickled just now
    assert zone != find_zone("EST5").tzinfo
    assert moment.isoformat() == "2026-07-01T12:00:00-04:00"
    assert (moment.tzname(), moment.dst()) == ("EDT", timedelta(hours=1))
    assert datetime(2026, 7, 1, 16, tzinfo=UTC).astimezone(zone).tzinfo is zone
    assert time(12, tzinfo=zone).utcoffset() is None


@pytest.mark.parametrize("machine", ["America/New_York", "Asia/Tokyo"])
def test_a_zone_known_only_to_this_machine_is_refused(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", machine)
    clock.tzset()
    try:
        for name in ("EDT", "JST", "localtime", "posixrules", "", "EST5EDT,M3.2.0", "ABC5DEF", "EST5EDT,59,299"):
            with pytest.raises(ValueError, match="unknown timezone"):
                Cron("0 0 * * *", name)
    finally:
        monkeypatch.undo()
        clock.tzset()


@pytest.mark.skipif(not zoneinfo.TZPATH, reason="this system has no timezone files")
def test_a_path_is_refused() -> None:
    paths = [path for folder in zoneinfo.TZPATH if os.path.isfile(path := os.path.join(folder, "Europe/Berlin"))]
    for path in [
        *paths,
        "/proc/self/environ",
        "../zoneinfo/Europe/Berlin",
        "Europe/../Europe/Berlin",
        "posix/Europe/Berlin",
    ]:
        with pytest.raises(ValueError, match="unknown timezone"):
            Cron("0 0 * * *", path)


@pytest.mark.parametrize(
    "name, advice",
    [
        ("Europe/Berln", "'Europe/Berlin'"),
        ("europe/berlin", "'Europe/Berlin'"),
        ("qqqq", "write an IANA name like 'Europe/Berlin'"),
        ("", "write an IANA name"),
        (" ", "write an IANA name"),
        ("America", "'America/"),
        ("/etc/passwd", "write an IANA name"),
        ("../../../etc/passwd", "write an IANA name"),
        ("Europe/Berlin\0", "'Europe/Berlin'"),
        ("\ud800", "write an IANA name"),
        ("UTC+99999999", "write an IANA name"),
        ("EDT", "did you mean 'America/New_York'?"),
        ("cest", "did you mean 'Europe/Berlin'?"),
        ("new york", "did you mean 'America/New_York'?"),
        ("Kathmandu", "did you mean 'Asia/Kathmandu'?"),
        ("x" * 100_000, "(100,002 characters)"),
        ("EST5" * 50_000, "(200,002 characters)"),
        ("UTC+25", "unknown timezone 'UTC+25'"),
        ("EST5EDT-24:30", "unknown timezone"),
    ],
)
def test_an_unknown_name_is_refused(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match="unknown timezone") as caught:
        Cron("0 0 * * *", name)
    assert advice in str(caught.value)
    assert len(str(caught.value)) < 300


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


def test_posix_rules_match_their_definition() -> None:
    same, other = find_zone("CET-1CEST,M3.5.0,M10.5.0/3"), find_zone("EST5EDT,M3.2.0,M11.1.0")
    assert len({same.tzinfo, find_zone("CET-1CEST,M3.5.0,M10.5.0/3").tzinfo, other.tzinfo}) == 2
    assert "CET-1CEST,M3.5.0,M10.5.0/3" in repr(same.tzinfo)
