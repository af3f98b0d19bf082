"""The cron contract at every transition of every zone, compared with the oracle in `conftest`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyncette._schedules.zones import iana_names
from pyncette.schedule import Cron, upcoming

Changes = Callable[[Any, int, int], list[Any]]
Oracle = Callable[[str, str, int, int, int], list[int]]

TEXTS = (
    # Fixed-time: at least once a day, at times that are skipped or repeated in some zone.
    "0 0 * * *",
    "30 0 * * *",
    "30 1 * * *",
    "15 2 * * *",
    "0,30 1,2,3 * * *",
    "59 23 * * *",
    "5,20,35,50 0,1,2,3,22,23 * * *",
    "0 3 * * SUN",
    "0 2 * * SUN#2",
    "0 0 * * L5",
    "10 0,1,2 L * *",
    "0 0,2,23 30,31 * *",
    "0 12 30 12 *",
    "0 1,2,3 1-7 3,4,10,11 0",
    "45 2 15W * *",
    "30 0,2 * * * 0 2000-2040",
    # Elapsed-time.
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "0 */6 * * *",
    "30 1-3 * * *",
    "*/20 2 * * *",
    "10-50/13 0-3,22,23 * * SUN,SAT",
    "* 0 1,L * *",
    "0 0-23/2 * 3-10 *",
)


def due(text: str, zone: str, low: int, high: int) -> list[int]:
    """The occurrences in (low, high], each computed from the previous one."""
    return list(takewhile(lambda moment: moment <= high, chain(Cron(text, zone), low)))


def chain(cron: Cron, moment: int) -> Iterator[int]:
    found = cron.following(moment * 1_000_000, 0)
    while found is not None:
        yield found // 1_000_000
        found = cron.following(found, 0)


def around(change: Any) -> tuple[int, int]:
    """The range around a transition that includes all repeated and skipped times, in whole minutes."""
    reach = abs(change.after - change.before) + 2 * 3600
    return (change.at - reach) // 60 * 60, (change.at + reach) // 60 * 60


@pytest.mark.timeout(900)
def test_every_transition_of_every_zone(iana: Sequence[Any], changes: Changes, oracle: Oracle, full_run: bool) -> None:
    """In a full run, all texts at each of about 28,000 transitions; otherwise a sample of both."""
    expected: dict[Any, dict[str, list[int]]] = {}
    every_change = [(rules.names, change) for rules in iana for change in changes(rules, 2000, 2100)]
    checked = 0
    for number, (names, change) in enumerate(every_change if full_run else every_change[::21]):
        low, high = around(change)
        share = 1 if full_run else 24 if change in expected else 8
        # Zones that change together show the same local times around the change.
        known = expected.setdefault(change, {})
        for text in TEXTS[number % share :: share]:
            if text not in known:
                known[text] = oracle(text, names[0], low, high, 60)
            found = due(text, names[0], low, high)
            assert found == known[text], (text, names, datetime.fromtimestamp(change.at, UTC))
            checked += len(found)
    assert len(every_change) > 25_000
    assert checked > (200_000 if full_run else 8_000)


@pytest.mark.parametrize(
    "zone, year",
    [("Africa/Monrovia", 1972), ("Europe/Amsterdam", 1937), ("Asia/Kolkata", 1905), ("Pacific/Kwajalein", 1993)],
)
def test_offsets_with_seconds_and_skipped_days(
    iana: Sequence[Any], changes: Changes, oracle: Oracle, zone: str, year: int
) -> None:
    rules = next(rules for rules in iana if zone in rules.names)
    texts = ("0 0 * * * 0", "10,40 0,1,12,23 * * * 0,19,30", "*/7 * * * * 15", "* 0,12 * * * */10", "59 23 * * *")
    found = changes(rules, year, year)
    assert found, "nothing to test"
    for change in found:
        low, high = around(change)
        for text in texts:
            assert due(text, zone, low, high) == oracle(text, zone, low, high, 1), (text, change)


def times_of_day(fixed: bool) -> st.SearchStrategy[str]:
    def values(top: int) -> st.SearchStrategy[str]:
        numbers = st.integers(0, top)
        listed = st.lists(numbers, min_size=1, max_size=4).map(lambda some: ",".join(map(str, some)))
        ranged = st.tuples(numbers, numbers, st.integers(1, 30)).map(lambda three: "{}-{}/{}".format(*three))
        stepped = st.integers(1, 30).map("*/{}".format)
        return listed if fixed else st.one_of(listed, ranged, stepped, st.just("*"))

    return st.tuples(values(59), values(23)).map(" ".join)


def days() -> st.SearchStrategy[str]:
    every = st.just("* * *")
    of_month = st.sampled_from(["1", "L", "30", "31", "1-15", "*/3", "7W", "29,30,L"]).map("{} * *".format)
    of_week = st.sampled_from(["0", "1-5", "SAT", "SUN#1", "0#2", "L0", "L5", "7"]).map("* * {}".format)
    either = st.sampled_from(["1 * MON", "*/10 * 0", "L 3,10 SUN", "15 */2 1-3"])
    return st.one_of(every, every, of_month, of_week, either)


@settings(deadline=None)
@given(
    clock=st.one_of(times_of_day(fixed=True), times_of_day(fixed=False)),
    days=days(),
    choice=st.randoms(use_true_random=False),
    before=st.integers(0, 30 * 60),
    after=st.integers(0, 30 * 60),
)
def test_random_texts_around_random_transitions(
    iana: Sequence[Any],
    changes: Changes,
    oracle: Oracle,
    clock: str,
    days: str,
    choice: random.Random,
    before: int,
    after: int,
) -> None:
    year = choice.randrange(1970, 2037)
    rules = choice.choice([rules for rules in iana if rules.transitions])
    found = changes(rules, year, year + 3) or list(rules.transitions)
    change = choice.choice(found)
    zone = choice.choice(rules.names)
    low, high = around(change)
    step = 1 if change.at % 60 or change.before % 60 or change.after % 60 else 60
    if step == 60:
        low, high = low - before * 60, high + after * 60
    text = f"{clock} {days}"
    expected = oracle(text, zone, low, high, step)
    assert due(text, zone, low, high) == expected, (text, zone, change)


@settings(deadline=None)
@given(
    text=st.sampled_from(TEXTS),
    zone=st.sampled_from(sorted(iana_names())),
    scheduled=st.integers(0, 4_102_444_800_000_000),
    missed=st.integers(-3 * 86_400_000_000, 40 * 86_400_000_000),
)
def test_fast_forward_takes_the_first_one_not_before_now(text: str, zone: str, scheduled: int, missed: int) -> None:
    cron = Cron(text, zone)
    now = scheduled + missed
    one_by_one = (cron.following(moment * 1_000_000, 0) for moment in range(scheduled // 1_000_000, 1 << 62))
    found = next(one_by_one)
    steps = 0
    while found is not None and found < now:
        found = cron.following(found, 0)
        steps += 1
    assert cron.following(scheduled, now, True) == found
    assert found is None or found > scheduled


def shown(count: int = 4, **parameters: Any) -> list[str]:
    after = datetime.fromisoformat(parameters.pop("after")).replace(tzinfo=UTC)
    return [moment.isoformat() for moment in islice(upcoming(after=after, **parameters), count)]


@pytest.mark.parametrize(
    "zone, text, after, expected",
    [
        # croniter 7.0 runs this twice
        (
            "America/New_York",
            "30 1 * * *",
            "2026-11-01T00:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
        # croniter up to 6.0 loops forever
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        # several skipped times and an existing one result in one run
        (
            "Europe/Berlin",
            "0,30 2,3 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:00:00+02:00"],
        ),
        (
            "Europe/Berlin",
            "*/30 * * * *",
            "2026-10-25T00:00",
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"],
        ),
        (
            "Europe/Berlin",
            "*/30 * * * *",
            "2026-03-29T00:30",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
        ),
        # the clock is set back to the time of the last run, and the next match is a year away
        (
            "Europe/Berlin",
            "0 2/24 25 10 *",
            "2026-10-24T12:00",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2027-10-25T02:00:00+02:00"],
        ),
        # until 2006 New York skipped this hour on the first Sunday in April, each year
        ("America/New_York", "0 2/24 * 4 SUN#1", "1990-01-01T00:00", ["2007-04-01T02:00:00-04:00"]),
        # negative DST: Dublin's standard time is its summer time
        (
            "Europe/Dublin",
            "30 1 * * *",
            "2026-10-24T12:00",
            ["2026-10-25T01:30:00+01:00", "2026-10-26T01:30:00+00:00"],
        ),
        # half an hour is skipped or repeated
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T00:00",
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"],
        ),
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-03T00:00",
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        ),
        (
            "Australia/Lord_Howe",
            "0 */6 * * *",
            "2026-04-04T12:00",
            ["2026-04-05T00:00:00+11:00", "2026-04-05T06:00:00+10:30"],
        ),
        # the midnight that does not exist
        (
            "America/Sao_Paulo",
            "0 0 * * *",
            "2018-11-03T12:00",
            ["2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"],
        ),
        # the day that does not exist: its runs happen at the first moment after it
        (
            "Pacific/Apia",
            "0 0,12 * * *",
            "2011-12-29T12:00",
            [
                "2011-12-29T12:00:00-10:00",
                "2011-12-31T00:00:00+14:00",
                "2011-12-31T12:00:00+14:00",
                "2012-01-01T00:00:00+14:00",
            ],
        ),
        ("Pacific/Apia", "0 9 30 12 *", "2011-12-29T12:00", ["2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"]),
        ("Pacific/Apia", "0 */12 30 12 *", "2011-12-29T12:00", ["2012-12-30T00:00:00+14:00"]),
        # two hours at once
        (
            "Antarctica/Troll",
            "30 1,2 * * *",
            "2026-03-28T12:00",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T01:30:00+02:00"],
        ),
        # Morocco's clocks are set back for Ramadan, on a different day each year
        (
            "Africa/Casablanca",
            "30 2 * * *",
            "2086-04-13T12:00",
            ["2086-04-14T02:30:00+01:00", "2086-04-15T02:30:00+00:00"],
        ),
        # IANA's rules continue after 2037
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2060-03-27T12:00",
            ["2060-03-28T03:00:00+02:00", "2060-03-29T02:30:00+02:00"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "9999-11-06T12:00",
            ["9999-11-07T01:30:00-04:00", "9999-11-08T01:30:00-05:00"],
        ),
        # a POSIX rule
        (
            "EST5EDT4,M3.2.0,M11.1.0",
            "30 1 * * *",
            "2026-10-31T12:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
    ],
)
def test_known_traps(zone: str, text: str, after: str, expected: list[str]) -> None:
    assert shown(len(expected), schedule=text, timezone=zone, after=after) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0 3 * * *", "2026-10-25T03:00:00+01:00"),
        ("59 2 * * * 59", "2026-10-26T02:59:59+01:00"),
    ],
)
def test_from_the_second_pass_on_the_first_new_time_is_next(text: str, expected: str) -> None:
    assert shown(1, schedule=text, timezone="Europe/Berlin", after="2026-10-25T01:30") == [expected]


def test_a_moment_in_the_second_pass_does_not_bring_back_the_first() -> None:
    second_pass = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)  # 02:00 in Berlin for the second time
    fixed = next(upcoming(schedule="30 2 * * *", timezone="Europe/Berlin", after=second_pass))
    elapsed = next(upcoming(schedule="30 2-2 * * *", timezone="Europe/Berlin", after=second_pass))
    assert fixed.isoformat() == "2026-10-26T02:30:00+01:00"
    assert elapsed.isoformat() == "2026-10-25T02:30:00+01:00"
