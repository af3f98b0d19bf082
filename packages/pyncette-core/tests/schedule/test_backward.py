"""The latest occurrence, counts and skipped ranges, compared with brute force at every transition of every zone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyncette.schedule import Cron, Interval, Once, SkippedRange, upcoming_of

Changes = Callable[[Any, int, int], list[Any]]
Oracle = Callable[[str, str, int, int, int], list[int]]

SECOND = 1_000_000
DAY = 86_400 * SECOND
LAST = 253_402_300_799 * SECOND + 999_999  # 9999-12-31T23:59:59.999999
FIRST = -62_135_596_800 * SECOND  # 0001-01-01

EXPRESSIONS = (
    "0 0 * * *",
    "30 1 * * *",
    "0,30 1,2,3 * * *",
    "5,20,35,50 0,1,2,3,22,23 * * *",
    "0 2 * * SUN#2",
    "10 0,1,2 L * *",
    "0 0,2,23 30,31 * *",
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "*/20 2 * * *",
    "10-50/13 0-3,22,23 * * SUN,SAT",
    "0 0-23/2 * 3-10 *",
)


def micros(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def check_between(text: str, zone: str, low: int, high: int, expected: Sequence[int], moments: Sequence[int]) -> None:
    """`expected` are the occurrences in ``(low, high]``; times are seconds."""
    cron = Cron(text, zone)
    for moment in moments:
        before = [due for due in expected if due <= moment]
        # If the result is the floor itself, there is no occurrence after it.
        assert cron.latest(low * SECOND, moment * SECOND) == (before[-1] if before else low) * SECOND, (moment, before)
        assert cron.includes(moment * SECOND) == (moment in expected), moment
        assert not cron.includes(moment * SECOND + 1)
        for first in expected[:3]:
            missed = [due for due in expected if first <= due <= moment]
            want = SkippedRange(first * SECOND, missed[-1] * SECOND, len(missed)) if missed else None
            assert cron.skipped(first * SECOND, moment * SECOND + 1) == want, (first, moment)


def around(change: Any) -> tuple[int, int]:
    reach = abs(change.after - change.before) + 2 * 3600
    return (change.at - reach) // 60 * 60, (change.at + reach) // 60 * 60


@pytest.mark.timeout(900)
def test_every_transition_of_every_zone(iana: Sequence[Any], changes: Changes, oracle: Oracle, full_run: bool) -> None:
    every_change = [(rules.names, change) for rules in iana for change in changes(rules, 2000, 2060)]
    share = 1 if full_run else 6
    known: dict[Any, list[int]] = {}
    for number, (names, change) in enumerate(every_change if full_run else every_change[::31]):
        low, high = around(change)
        moments = [
            change.at + delta for delta in (-1, 0, 1, change.before - change.after, change.after - change.before)
        ]
        moments = [moment for moment in [*moments, low + 1, high - 1, high] if low < moment <= high]
        for text in EXPRESSIONS[number % share :: share]:
            if (change, text) not in known:
                known[change, text] = oracle(text, names[0], low, high, 60)
            check_between(text, names[-1], low, high, known[change, text], moments)
    assert len(every_change) > 12_000


@pytest.mark.parametrize(
    "zone, year",
    [("Africa/Monrovia", 1972), ("Europe/Amsterdam", 1937), ("Asia/Kolkata", 1905), ("Pacific/Apia", 2011)],
)
def test_offsets_with_seconds_and_skipped_days(
    iana: Sequence[Any], changes: Changes, oracle: Oracle, zone: str, year: int
) -> None:
    rules = next(rules for rules in iana if zone in rules.names)
    for change in changes(rules, year, year):
        low, high = around(change)
        moments = [low + 1, *range(low + 1, high, 997), change.at - 1, change.at, change.at + 1]
        for text in ("0 0 * * * 0", "10,40 0,1,12,23 * * * 0,19,30", "*/7 * * * * 15", "59 23 * * *"):
            check_between(text, zone, low, high, oracle(text, zone, low, high, 1), moments)


@settings(deadline=None)
@given(
    text=st.sampled_from([*EXPRESSIONS, "15 2 29 2 *", "0 0 1 1 * 0 2000-2030", "0 12 15W * *", "30 4 * * L5"]),
    choice=st.randoms(use_true_random=False),
    start=st.integers(0, 4_102_444_800),
)
def test_backward_undoes_forward(iana: Sequence[Any], text: str, choice: random.Random, start: int) -> None:
    """Over months and years, where brute force is too slow: the chain of next occurrences, read backwards."""
    zone = choice.choice([None, choice.choice(choice.choice(iana).names)])
    cron = Cron(text, zone)
    chain = [(moment - datetime(1970, 1, 1, tzinfo=UTC)) for moment in islice(upcoming_of(cron, at(start)), 60)]
    moments = [int(delta.total_seconds()) * SECOND for delta in chain]
    for earlier, later in pairwise(moments):
        assert cron.latest(FIRST, later - 1) == earlier
        assert cron.latest(FIRST, later) == later
        assert cron.includes(later)
    for count in range(1, len(moments)):
        assert cron.skipped(moments[0], moments[count]) == SkippedRange(moments[0], moments[count - 1], count)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@given(
    period=st.integers(1, 10**12),
    first=st.integers(-(10**15), 10**15),
    periods=st.integers(0, 10_000),
    rest=st.integers(0, 10**12 - 1),
)
def test_intervals(period: int, first: int, periods: int, rest: int) -> None:
    interval, moment = Interval(period), first + periods * period + rest % period
    assert interval.latest(first, moment) == first + periods * period
    assert interval.skipped(first, moment + 1) == SkippedRange(first, first + periods * period, periods + 1)
    assert interval.latest(first, first - 1) == first
    assert interval.skipped(first, first) is None


def test_a_single_occurrence() -> None:
    once = Once(5)
    assert once.latest(5, 9) == 5
    assert once.skipped(5, 6) == SkippedRange(5, 5, 1)
    assert once.skipped(5, 5) is None
    assert once.includes(5)
    assert not once.includes(6)


def test_the_first_of_a_skipped_range_may_be_off_the_schedule() -> None:
    """It may come from an earlier schedule: it counts, because it was due."""
    noon = micros("2026-08-01T12:00:00+00:00")
    cron = Cron("0 12 * * *")
    assert cron.skipped(noon - 7, noon + DAY) == SkippedRange(noon - 7, noon, 2)
    assert cron.skipped(noon - 7, noon) == SkippedRange(noon - 7, noon - 7, 1)


@pytest.mark.parametrize("zone", [None, "America/New_York", "Africa/Casablanca"])
@pytest.mark.parametrize("text", ["* * * * * *", "0 0 * * *", "*/7 1,2 * * MON"])
def test_thirty_years_are_counted_exactly_and_at_once(zone: str | None, text: str) -> None:
    cron = Cron(text, zone)
    first, before = micros("1996-01-01T05:00:00+00:00"), micros("2026-01-01T05:00:00+00:00")
    found = cron.skipped(first, before)  # fills the cache of the zone's offsets
    took = []
    for _ in range(5):
        begun = time.process_time()
        cron.skipped(first, before)
        took.append(time.process_time() - begun)
    assert found is not None
    assert found.exact
    assert min(took) < 0.005
    if text == "* * * * * *":
        assert found.count == (before - first) // SECOND
        assert found.last == before - SECOND


def test_a_year_of_minutes_is_counted_as_one_by_one() -> None:
    for zone in ("Australia/Lord_Howe", "Europe/Berlin", None):
        for text in ("*/10 * * * *", "0,30 0,1,2,3 * * *", "20 2 * * SUN"):
            cron, start = Cron(text, zone), micros("2025-12-31T00:00:00+00:00")
            end, count = start + 370 * DAY, 0
            first = last = moment = cron.following(start, start)
            assert first is not None
            assert last is not None
            while moment is not None and moment < end:
                count, last = count + 1, moment
                moment = cron.following(moment, moment)
            assert cron.skipped(first, end) == SkippedRange(first, last, count)


def test_a_very_long_range_is_counted_in_part() -> None:
    first = micros("2026-01-01T00:00:00+00:00")
    many = Cron("0 * * * *", "Europe/Berlin").skipped(first, LAST)
    assert many is not None
    assert not many.exact
    assert 10_000 <= many.count < (LAST - first) // 3_600_000_000
    assert many.last == micros("9999-12-31T23:00:00+00:00")
    rare = Cron("0 12 1 1 *", "Europe/Berlin").skipped(first, micros("2226-01-01T00:00:00+00:00"))
    assert rare == SkippedRange(first, micros("2225-01-01T11:00:00+00:00"), 201)
    utc = Cron("* * * * * *").skipped(first, LAST)
    assert utc == SkippedRange(first, LAST // SECOND * SECOND, (LAST - first) // SECOND + 1)


@pytest.mark.parametrize("zone", [None, "UTC", "Pacific/Kiritimati", "America/Adak"])
@pytest.mark.parametrize("text", ["0 0 * * *", "*/10 * * * *", "0 0 30 2 *", "0 0 1 1 * 0 2050", "*/5 2 * 3 SUN#2"])
def test_the_ends_of_time(zone: str | None, text: str) -> None:
    cron = Cron(text, zone)
    for moment in (FIRST, FIRST + DAY, FIRST - DAY, LAST, LAST + DAY):
        latest = cron.latest(FIRST - 2 * DAY, moment)
        assert latest == FIRST - 2 * DAY or FIRST <= latest <= moment
    assert cron.skipped(LAST, LAST) is None
    assert cron.latest(7, 0) == 7


def test_a_schedule_that_only_matched_before_a_rule_changed_is_found() -> None:
    """Until 2006, clocks in New York changed in April, so 02:00 existed on the second Sunday of March."""
    cron = Cron("*/5 2 * 3 SUN#2", "America/New_York")
    assert cron.latest(0, micros("2026-01-01T00:00:00+00:00")) == micros("2006-03-12T02:55:00-05:00")


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("text", ["0 0 1 1 * * 2030", "*/30 12 * 6 * 0 2027,2030", "0 0 29 2 * 0 2028"])
def test_the_last_one_is_found_however_long_ago_its_years_have_passed(zone: str | None, text: str) -> None:
    cron = Cron(text, zone)
    first = cron.first(micros("2027-01-01T00:00:00+00:00"))
    assert first is not None
    last = cron.latest(first, micros("2031-01-01T00:00:00+00:00"))
    assert cron.following(last, last) is None
    for later in ("2400-01-01", "2431-07-01", "5000-01-01", "9999-12-31"):
        assert cron.latest(first, micros(f"{later}T00:00:00+00:00")) == last
    assert cron.latest(first, 2**61) == last
