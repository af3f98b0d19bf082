"""Ranges that croniter 7 misreads, and steps that are misleading."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice

import pytest
from croniter import croniter

from pyncette._schedules.cron import parse, warning_of
from pyncette._schedules.ranges import written_out
from pyncette.schedule import Cron, CronError, make_schedule, upcoming_of

Walked = Callable[[str], str]

START = datetime(2025, 6, 15, 15, 7, tzinfo=UTC)


def occurrences(text: str) -> list[datetime]:
    return list(islice(upcoming_of(Cron(text), START), 12))


def by_croniter(text: str) -> list[datetime]:
    return list(islice(croniter(text, START, ret_type=datetime, max_years_between_matches=150).all_next(), 12))


SIZES = {0: (0, 59), 1: (0, 23), 2: (1, 31), 3: (1, 12), 4: (0, 6)}


def test_every_wrapping_range_with_a_step_continues_across_the_wrap(walked: Walked, full_run: bool) -> None:
    """Every pair of ends. croniter 7 gets two out of three wrong."""
    checked = 0
    for field, (low, high) in SIZES.items():
        before, after = ["*"] * field, ["*"] * (5 - field)
        for begin in range(low, high + 1):
            for end in range(low, begin + 1):
                for step in (1, 2, 3, 5, 6, 10, 23) if full_run or high < 32 else (2, 7):
                    part = f"{begin}-{end}/{step}"
                    expected = walked(" ".join([*before, part, *after])).split()[field]
                    assert written_out(field, part) == expected, (field, part)
                    checked += 1
    assert checked > 9_000


def test_wrapping_ranges_with_a_step_as_a_whole(walked: Walked, full_run: bool) -> None:
    """18,144 expressions, each pair of ends with seven steps, from parsing to the values that match."""
    every = [
        (field, begin, end, step)
        for field, (low, high) in SIZES.items()
        for begin in range(low, high + 1)
        for end in range(max(low, field == 4), begin)
        for step in range(2, 9)
    ]
    assert len(every) == 18_144
    for field, begin, end, step in every if full_run else every[::23]:
        text = " ".join(["*"] * field + [f"{begin}-{end}/{step}"] + ["*"] * (4 - field))
        ours, oracle = parse(text), croniter(walked(text), 0).expanded[field]
        if field < 2:
            assert list(ours.values[1 - field]) == sorted(map(int, oracle)), text
        else:
            assert occurrences(text) == occurrences(walked(text)) == by_croniter(walked(text)), text


@pytest.mark.parametrize(
    "text, same",
    [
        ("2-2 * * * *", "2 * * * *"),
        ("0 0 * * MON-MON", "0 0 * * 1"),
        ("0 0 * jan-JAN *", "0 0 * 1 *"),
        ("0 0 31-31/5 * *", "0 0 31 * *"),
        ("0 0 * * 7-7", "0 0 * * 0"),
        ("0 0 * * 7-0", "0 0 * * 0"),
        ("0 0 * * 7-2", "0 0 * * 0,1,2"),
        ("0 0 * * fri-mon/2", "0 0 * * 5,0"),
        ("0 23-5/2 * * *", "0 23,1,3,5 * * *"),
        ("50-10/15,30 * * * *", "50,5,30 * * * *"),
        ("0 0 * nov-FEB/2 *", "0 0 * 11,1 *"),
        ("0 0 29-3/2 * *", "0 0 29,31,2 * *"),
        ("0 0 1 1 * 0 2030-2030", "0 0 1 1 * 0 2030"),
    ],
)
def test_ranges_that_croniter_misreads(text: str, same: str) -> None:
    assert occurrences(text) == occurrences(same)
    assert occurrences(same) == by_croniter(same)


def test_a_range_of_one_value_is_still_a_range() -> None:
    assert not parse("30 2-2 * * *").fixed
    assert parse("30 2 * * *").fixed


@pytest.mark.parametrize("text", ["23-61/2 * * * *", "5-2/0 * * * *", "0 0 * foo-foo *", "0 0 * * 8-8"])
def test_ranges_that_are_wrong_are_refused_as_they_were_written(text: str) -> None:
    with pytest.raises(CronError) as caught:
        Cron(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text, item, field",
    [
        ("*/90 * * * *", "'*/90'", "minute field, which has 60 values"),
        ("0 5,*/48 * * *", "'*/48'", "hour field, which has 24"),
        ("0 0 */40 * *", "'*/40'", "day-of-month field, which has 31"),
        ("0 0 * * * 10-20/61", "'10-20/61'", "second field, which has 60"),
    ],
)
def test_a_step_that_is_longer_than_its_field_is_warned_about(
    text: str, item: str, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_schedule(schedule=text)
    make_schedule(schedule=text)
    [message] = [record.getMessage() for record in caplog.records if record.name == "pyncette.schedule"]
    assert f"schedule {text!r}: the step of {item} is longer than the {field}" in message
    assert "interval=" in message


@pytest.mark.parametrize(
    "text", ["*/60 * * * *", "0 */24 * * *", "*/7 * * * *", "0 0 */31 * *", "@hourly", "5/60 * * * *"]
)
def test_other_steps_are_not(text: str) -> None:
    assert warning_of(text) is None


@pytest.mark.parametrize("text", ["9" * 100_000 + " * * * *", "* " * 50_000, "0 0 * * " + "1," * 50_000, "x" * 100_000])
def test_a_long_expression_is_truncated(text: str) -> None:
    with pytest.raises(CronError) as caught:
        Cron(text)
    assert len(str(caught.value)) < 600
