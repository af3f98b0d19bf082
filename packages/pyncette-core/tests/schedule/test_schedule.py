"""Schedules as values: declaration, first and following occurrences, previews."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterError
from hypothesis import given
from hypothesis import strategies as st

from pyncette.schedule import Cron, CronError, Interval, Once, make_schedule, upcoming, upcoming_of

SECOND = 1_000_000
DAY = 86_400 * SECOND
NOW = 1_785_000_000 * SECOND + 123_456
LAST = 253_402_300_799 * SECOND + 999_999  # 9999-12-31T23:59:59.999999


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.fixture
def berlin_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system's timezone is Berlin's."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- declaration ---


def test_each_kind_is_declared_by_its_parameter() -> None:
    assert make_schedule(schedule="30 2 * * *") == Cron("30 2 * * *")
    assert make_schedule(schedule="30 2 * * *", timezone="Asia/Tokyo") == Cron("30 2 * * *", "Asia/Tokyo")
    assert make_schedule(interval=timedelta(days=40_000, microseconds=1)) == Interval(40_000 * DAY + 1)
    assert make_schedule(execute_at=datetime(2030, 1, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))) == Once(
        micros("2030-01-01T03:00:00+00:00")
    )


def test_the_limits_are_accepted() -> None:
    assert make_schedule(interval=timedelta(microseconds=1)) == Interval(1)
    assert make_schedule(interval=timedelta(days=365_250)) == Interval(365_250 * DAY)
    assert make_schedule(execute_at=datetime.max.replace(tzinfo=UTC)) == Once(LAST)
    assert make_schedule(execute_at=datetime.min.replace(tzinfo=UTC)) == Once(-62_135_596_800 * SECOND)


@pytest.mark.usefixtures("berlin_time")
def test_a_naive_moment_is_local_time() -> None:
    assert make_schedule(execute_at=datetime(2030, 7, 1, 12)) == Once(  # noqa: DTZ001 - naive is the point
        micros("2030-07-01T10:00:00+00:00")
    )
    first = next(upcoming(schedule="0 11 * * *", after=datetime(2030, 7, 1, 12)))  # noqa: DTZ001 - naive is the point
    assert first == datetime(2030, 7, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({}, "no schedule: give exactly one of schedule="),
        ({"schedule": "* * * * *", "interval": timedelta(1)}, "more than one schedule: give exactly one"),
        ({"interval": timedelta(1), "execute_at": datetime(2030, 1, 1, tzinfo=UTC)}, "more than one schedule"),
        ({"schedule": "* * * * *", "execute_at": datetime(2030, 1, 1, tzinfo=UTC)}, "more than one schedule"),
        ({"timezone": "UTC"}, "timezone= goes only with schedule="),
        ({"timezone": "UTC", "interval": timedelta(1)}, "timezone= goes only with schedule="),
        ({"timezone": "UTC", "execute_at": datetime(2030, 1, 1, tzinfo=UTC)}, "write an aware datetime instead"),
        ({"schedule": "* * * * *", "timezone": "Mars/Olympus"}, "unknown timezone 'Mars/Olympus'"),
        ({"interval": timedelta(0)}, r"interval must be positive, like timedelta\(minutes=5\)"),
        ({"interval": timedelta(seconds=-1)}, "interval must be positive"),
        ({"interval": timedelta(days=365_250, microseconds=1)}, "interval must be at most 1,000 years"),
        (
            {"execute_at": datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))},
            "execute_at must be within the years 1 to 9999",
        ),
        ({"execute_at": datetime(9999, 12, 31, 23, tzinfo=ZoneInfo("America/New_York"))}, "within the years 1 to 9999"),
        ({"execute_at": datetime(1, 1, 1)}, "execute_at must be within the years 1 to 9999"),  # noqa: DTZ001 - in Berlin
    ],
)
@pytest.mark.usefixtures("berlin_time")
def test_contradictions_and_wrong_values_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_schedule(**parameters)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"schedule": 3}, "schedule must be a cron expression like '30 2 * * *', not 3"),
        ({"schedule": b"* * * * *"}, "schedule must be a cron expression"),
        ({"schedule": timedelta(1)}, "schedule must be a cron expression"),
        ({"schedule": "* * * * *", "timezone": ZoneInfo("UTC")}, "timezone must be a name like 'Europe/Berlin'"),
        ({"schedule": "* * * * *", "timezone": ["UTC"]}, "timezone must be a name"),
        ({"interval": 5}, "interval must be a timedelta like timedelta(minutes=5), not 5"),
        ({"interval": "5m"}, "interval must be a timedelta"),
        ({"execute_at": "2030-01-01"}, "execute_at must be a datetime like datetime(2030, 1, 31, 12, 0, tzinfo=UTC)"),
        ({"execute_at": date(2030, 1, 1)}, "execute_at must be a datetime"),
        ({"execute_at": 1_900_000_000}, "execute_at must be a datetime"),
    ],
)
def test_wrong_types_are_refused_with_the_right_one(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        make_schedule(**parameters)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text, zone",
    [
        ("0 0 30 2 *", None),
        ("0 0 31 4,6 *", None),
        ("0 0 30 2 *", "Europe/Berlin"),
        ("*/5 0 30 2 *", "Europe/Berlin"),
        ("0 0 1 1 * 0 1999-2005", None),
        ("0 0 29 2 * 0 2097-2099", None),
        ("0 0 1 1 * 0 2020", "Asia/Tokyo"),
        # always inside the gap in spring
        ("*/5 2 * 3 SUN#2", "America/New_York"),
        ("30 2/24 * 3 L0", "Europe/Berlin"),
    ],
)
def test_a_text_without_a_future_match_is_refused(text: str, zone: str | None) -> None:
    with pytest.raises(CroniterError, match="has no match in the future") as caught:
        make_schedule(schedule=text, timezone=zone, now=NOW)
    assert isinstance(caught.value, CronError)
    assert repr(text) in str(caught.value)
    # A stored schedule whose matches are all past can still be read.
    cron = Cron(text, zone)
    assert cron.following(NOW, NOW) is None
    assert cron.first(NOW) is None


def test_the_future_begins_now() -> None:
    text = "0 0 1 1 * 0 2020"
    assert make_schedule(schedule=text, now=micros("2019-12-31T00:00:00+00:00")) == Cron(text)
    with pytest.raises(CronError):
        make_schedule(schedule=text)


# --- occurrences ---


def test_the_first_occurrence_is_after_now() -> None:
    cron = Cron("0 12 * * *")
    noon = micros("2026-08-01T12:00:00+00:00")
    assert cron.first(noon - 1) == noon
    assert cron.first(noon) == noon + DAY
    assert cron.first(noon + 1) == noon + DAY
    assert Interval(90).first(NOW) == NOW + 90
    assert Once(5).first(NOW) == 5


def test_the_following_counts_from_the_scheduled_moment() -> None:
    noon = micros("2026-08-01T12:00:00+00:00")
    late = noon + 30 * DAY + 1
    assert Cron("0 12 * * *").following(noon, late) == noon + DAY
    assert Interval(DAY).following(noon, late) == noon + DAY
    assert Once(noon).following(noon, late) is None
    assert Once(noon).following(noon, late, True) is None


@pytest.mark.parametrize("schedule", [Cron("0 12 * * *"), Cron("0 */12 * * *", "UTC"), Interval(DAY // 2)])
def test_fast_forward_takes_the_grid_at_or_after_now(schedule: Cron | Interval) -> None:
    noon = micros("2026-08-01T12:00:00+00:00")
    step = schedule.following(noon, noon)
    assert step is not None
    step -= noon
    assert schedule.following(noon, noon + 10 * step, fast_forward=True) == noon + 10 * step
    assert schedule.following(noon, noon + 10 * step + 1, fast_forward=True) == noon + 11 * step
    assert schedule.following(noon, noon + 10 * step - 1, fast_forward=True) == noon + 10 * step
    # Never the same occurrence again, even if now is before it.
    assert schedule.following(noon, noon, fast_forward=True) == noon + step
    assert schedule.following(noon, noon - 10 * step, fast_forward=True) == noon + step


@given(period=st.integers(1, 10**12), scheduled=st.integers(-(10**15), 10**15), missed=st.integers(-(10**13), 10**15))
def test_an_interval_stays_on_its_grid(period: int, scheduled: int, missed: int) -> None:
    now = scheduled + missed
    found = Interval(period).following(scheduled, now, True)
    assert found is not None
    assert (found - scheduled) % period == 0
    assert found > scheduled
    assert found >= now
    assert found - period <= scheduled or found - period < now


def count_lines(work: Callable[[], object]) -> int:
    """The number of lines of Python that `work` executes."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize(
    "schedule",
    [
        Interval(SECOND),
        Cron("* * * * * *"),
        Cron("* * * * * *", "Europe/Berlin"),
        Cron("0,30 8-17 * * * */5", "America/New_York"),
        Cron("0 0,12 * * *", "Australia/Lord_Howe"),
    ],
)
def test_ten_million_missed_seconds_take_as_many_steps_as_one(schedule: Cron | Interval) -> None:
    missed = 10_000_000 * SECOND
    found = schedule.following(NOW, NOW + missed, fast_forward=True)  # fills the cache of the zone's offsets
    assert found is not None
    assert NOW + missed <= found < NOW + missed + DAY
    steps = count_lines(lambda: schedule.following(NOW, NOW + missed, True))
    # A line takes a fraction of a microsecond.
    assert 0 < steps < 60


@pytest.mark.parametrize(
    "text, zone",
    [
        ("0 0 29 2 *", "Europe/Berlin"),
        ("* * 29 2 *", "Europe/Berlin"),
        ("0 0 1 1 * 0 2099", "Europe/Berlin"),
        ("0 0 * 2 1#5", None),
    ],
)
def test_a_match_years_away_is_found_by_months(text: str, zone: str | None) -> None:
    cron = Cron(text, zone)
    moment = micros("2072-03-01T00:00:00+00:00")
    cron.following(moment, moment)
    assert count_lines(lambda: cron.following(moment, moment)) < 3_000


@pytest.mark.parametrize("zone", [None, "UTC", "Pacific/Kiritimati", "America/Adak", "Africa/Casablanca"])
@pytest.mark.parametrize("text", ["0 0,14 * * *", "*/10 * * * *", "59 23 31 12 *", "* * * * * *"])
def test_everything_ends_with_the_year_9999(text: str, zone: str | None) -> None:
    found = list(upcoming(schedule=text, timezone=zone, after=datetime(9999, 12, 30, 23, tzinfo=UTC)))
    assert all(later > earlier for earlier, later in pairwise(found))
    if zone != "America/Adak":
        assert found[-1].isoformat() >= "9999-12-31T14:00:00"
    cron = Cron(text, zone)
    assert cron.following(LAST, LAST) is None
    assert cron.following(LAST, LAST, True) is None


def test_kiritimati_ends_when_its_local_year_does() -> None:
    after = datetime(9999, 12, 31, 8, tzinfo=UTC)
    found = list(upcoming(schedule="0 * * * *", timezone="Pacific/Kiritimati", after=after))
    assert [moment.isoformat() for moment in found] == ["9999-12-31T23:00:00+14:00"]
    assert list(upcoming(schedule="0 * * * *", timezone="Pacific/Kiritimati", after=found[-1])) == []


def test_adak_ends_when_the_year_does_in_utc() -> None:
    after = datetime(9999, 12, 31, 22, tzinfo=UTC)
    found = list(upcoming(schedule="0 * * * *", timezone="America/Adak", after=after))
    assert [moment.isoformat() for moment in found] == ["9999-12-31T13:00:00-10:00"]


def test_an_interval_ends_with_the_year_9999() -> None:
    assert Interval(2).following(LAST - 2, 0) == LAST
    assert Interval(2).following(LAST - 1, 0) is None
    assert Interval(2).first(LAST - 1) is None


# --- previews ---


def test_upcoming_is_lazy_and_does_not_end() -> None:
    found = upcoming(schedule="* * * * * *", after=datetime(2026, 1, 1, tzinfo=UTC))
    assert list(islice(found, 2)) == [
        datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC),
    ]
    assert next(islice(found, 10_000, None)) == datetime(2026, 1, 1, 2, 46, 43, tzinfo=UTC)


def test_upcoming_is_in_the_timezone_that_was_asked_for() -> None:
    after = datetime(2026, 7, 1, tzinfo=UTC)
    for zone in ("Europe/Berlin", "Asia/Kathmandu", "EST5EDT4,M3.2.0,M11.1.0"):
        moment = next(upcoming(schedule="30 7 * * *", timezone=zone, after=after))
        assert (moment.hour, moment.minute) == (7, 30)
        assert moment.tzinfo is Cron("30 7 * * *", zone).tz
    assert next(upcoming(schedule="30 7 * * *", after=after)).tzinfo is UTC


def test_upcoming_of_an_interval_counts_from_after() -> None:
    after = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))
    found = list(islice(upcoming(interval=timedelta(minutes=90), after=after), 3))
    assert found == [after + timedelta(minutes=90 * count) for count in (1, 2, 3)]
    assert {moment.tzinfo for moment in found} == {UTC}


def test_upcoming_without_after_begins_now() -> None:
    before = datetime.now(UTC)
    moment = next(upcoming(interval=timedelta(hours=1)))
    assert before + timedelta(hours=1) - timedelta(microseconds=1) <= moment <= datetime.now(UTC) + timedelta(hours=1)
    assert next(upcoming(schedule="* * * * * *")) > before


def test_upcoming_is_checked_when_it_is_called() -> None:
    with pytest.raises(CronError):
        upcoming(schedule="0 0 30 2 *")
    with pytest.raises(ValueError, match="exactly one"):
        upcoming()
    with pytest.raises(ValueError, match="timezone= goes only with"):
        upcoming(interval=timedelta(1), timezone="UTC")
    with pytest.raises(TypeError, match="after must be a datetime"):
        upcoming(interval=timedelta(1), after=5)  # type: ignore[arg-type] # the mistake is the point


def test_upcoming_of_a_schedule_that_exists() -> None:
    at = micros("2026-07-01T12:00:00+00:00")
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert list(upcoming_of(Once(at), moment - timedelta(microseconds=1))) == [moment]
    assert list(upcoming_of(Once(at), moment)) == []
    assert list(islice(upcoming_of(Cron("0 * * * *"), moment), 2)) == [moment.replace(hour=13), moment.replace(hour=14)]
    assert next(upcoming_of(Interval(SECOND), moment)) == moment + timedelta(seconds=1)
    assert list(upcoming_of(Cron("0 0 1 1 * 0 2020"), moment)) == []


def test_a_preview_of_the_past_shows_what_is_over() -> None:
    after = datetime(2019, 6, 1, tzinfo=UTC)
    assert list(upcoming(schedule="0 0 1 1 * 0 2020", after=after)) == [datetime(2020, 1, 1, tzinfo=UTC)]
    with pytest.raises(CronError):
        upcoming(schedule="0 0 1 1 * 0 2020")


def test_other_schedules_are_shown_in_utc() -> None:
    assert Interval(1).tz is Once(1).tz is Cron("* * * * *").tz is UTC


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "EST5EDT,M3.2.0,M11.1.0"])
@pytest.mark.parametrize("text", ["0 0 * * *", "*/5 * * * *"])
def test_upcoming_from_the_first_moment_and_to_the_last(zone: str, text: str) -> None:
    """Local times before the year 1 or after 9999 can't be represented, and are left out."""
    first = next(upcoming(schedule=text, timezone=zone, after=datetime.min.replace(tzinfo=UTC)))
    assert (first.year, first.month) == (1, 1)
    assert first.day <= 2
    last = list(upcoming(schedule=text, timezone=zone, after=datetime(9999, 12, 29, tzinfo=UTC)))[-1]
    assert (last.year, last.month) == (9999, 12)
    assert last.day >= 30


def test_occurrences_end_where_a_zone_has_no_further_day() -> None:
    """The last hours of the year 9999 in UTC are in the year 10000 in Tokyo."""
    noon = datetime(9999, 12, 31, 12, tzinfo=UTC)
    assert [found.hour for found in upcoming(schedule="0 * * * *", timezone="Asia/Tokyo", after=noon)] == [22, 23]
