"""Schedules with bounds: every function is compared with a list of all occurrences."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._schedules.moments import EARLIEST, LATEST
from pyncette._tasks.spec import Bounds, Spec, decode, encode
from pyncette.schedule import Cron, Interval, Once, SkippedRange

SECOND = 1_000_000
HOUR = 3600 * SECOND
SMALL = st.integers(-100, 400)
BOUND = st.none() | SMALL


def all_of(period: int, bounds: Bounds, origin: int) -> list[int]:
    """The first 1,000 occurrences of an interval from `origin`, or from `start_at`."""
    start = origin if bounds.start_at is None else bounds.start_at
    end = 1000 if bounds.end_at is None else bounds.end_at
    return list(range(start, end + 1, period))


@given(period=st.integers(1, 60), start_at=BOUND, end_at=BOUND, now=SMALL)
def test_the_first_of_an_interval(period: int, start_at: int | None, end_at: int | None, now: int) -> None:
    spec = Spec(Interval(period), bounds=Bounds(start_at, end_at))
    expected = [moment for moment in all_of(period, spec.bounds, now + period) if moment > now]
    assert spec.first(now) == (expected[0] if expected else None)


@given(
    period=st.integers(1, 60),
    start_at=BOUND,
    end_at=BOUND,
    since=BOUND,
    begin=SMALL,
    now=SMALL,
    before=SMALL,
)
def test_an_interval(
    period: int, start_at: int | None, end_at: int | None, since: int | None, begin: int, now: int, before: int
) -> None:
    bounds = Bounds(start_at, end_at)
    spec = Spec(Interval(period), since=since, bounds=bounds)
    earliest = begin if since is None else max(begin, since)
    later = [moment for moment in all_of(period, bounds, earliest) if moment > earliest]
    assert spec.following(begin) == (later[0] if later else None)
    every = [begin, *later]
    assert spec.latest(begin, now) == max(moment for moment in every if moment <= max(now, begin))
    missed = [moment for moment in every if moment < before]
    assert spec.skipped(begin, before) == (SkippedRange(missed[0], missed[-1], len(missed)) if missed else None)
    if start_at is not None:
        assert spec.includes(now) == (now in all_of(period, bounds, 0))


@pytest.mark.parametrize("zone", [None, "America/New_York"])
@given(data=st.data())
def test_a_cron_expression(zone: str | None, data: st.DataObject) -> None:
    origin = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * SECOND  # clocks are set back that day
    moments = st.integers(0, 40 * 3600).map(lambda seconds: origin + seconds * SECOND)
    start_at, end_at, since = (data.draw(st.none() | moments) for _ in range(3))
    begin, now, before = (data.draw(moments) for _ in range(3))
    cron = Cron(data.draw(st.sampled_from(["*/20 * * * *", "30 1,5,9 * * *", "0 */3 * * *"])), zone)
    spec = Spec(cron, since=since, bounds=Bounds(start_at, end_at))
    every, moment = [], cron.following(origin - 1, 0)
    while moment is not None and moment < origin + 80 * HOUR:
        every.append(moment)
        moment = cron.following(moment, 0)
    inside = [due for due in every if (start_at is None or due >= start_at) and (end_at is None or due <= end_at)]
    assert spec.first(now) == next((due for due in inside if due > now), None)
    later = [due for due in inside if due > (begin if since is None else max(begin, since))]
    assert spec.following(begin) == (later[0] if later else None)
    assert spec.latest(begin, now) == max([due for due in later if due <= now], default=begin)
    missed = [due for due in [begin, *later] if due < before]
    assert spec.skipped(begin, before) == (SkippedRange(missed[0], missed[-1], len(missed)) if missed else None)
    assert spec.includes(now) == (now in inside)
    assert all(map(spec.includes, inside))


def test_a_single_occurrence() -> None:
    assert Spec(Once(7)).first(9) == 7
    assert Spec(Once(7)).following(7) is None
    assert Spec(Once(7)).latest(7, 9) == 7
    assert Spec(Once(7)).skipped(7, 8) == SkippedRange(7, 7, 1)


def test_an_interval_that_is_migrated_keeps_its_next_occurrence() -> None:
    """`start_at` may be the last occurrence that another system executed, or any earlier one."""
    start = int(datetime(2020, 2, 29, 10, tzinfo=UTC).timestamp()) * SECOND
    spec = Spec(Interval(7 * 24 * HOUR), bounds=Bounds(start_at=start))
    assert spec.first(start + 100 * 7 * 24 * HOUR + 1) == start + 101 * 7 * 24 * HOUR


def test_the_last_moment_is_included() -> None:
    spec = Spec(Interval(10), bounds=Bounds(end_at=30))
    assert spec.following(20) == 30
    assert spec.following(30) is None
    assert Spec(Interval(10), bounds=Bounds(end_at=29)).following(20) is None


MOMENT = st.none() | st.integers(EARLIEST, LATEST)


@given(MOMENT, MOMENT, st.none() | st.integers(1, 10**9))
def test_bounds_are_stored(start_at: int | None, end_at: int | None, max_runs: int | None) -> None:
    spec = Spec(Interval(5), "{}", None, Bounds(start_at, end_at, max_runs))
    assert decode(encode(spec)) == (spec, {})
