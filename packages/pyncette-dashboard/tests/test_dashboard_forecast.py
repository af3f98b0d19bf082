"""Forecasts count occurrences by their schedules, and estimate them if there are too many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pyncette import Pyncette, TaskState
from pyncette_dashboard import forecast as it
from pyncette_dashboard.charts import HEIGHT, stacked
from pyncette_dashboard.forecast import forecast, peaks

START = datetime(2027, 1, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
TEMPLATE = Pyncette().dynamic_task(name="report")(lambda context: None)


def state(first: datetime, doing: Any = "waiting", **timing: Any) -> TaskState:
    return TaskState(TEMPLATE.instantiate("x", **timing), first, None, None, doing, first)


def totals(*states: TaskState, count: int = 24, weight: float = 1) -> list[float]:
    return forecast({"report": (states, weight)}, START, HOUR, count).totals


def test_intervals_are_counted() -> None:
    assert totals(state(START + HOUR, interval=timedelta(minutes=20)), count=4) == [0, 3, 3, 3]
    assert totals(state(START + timedelta(minutes=90), interval=timedelta(hours=2)), count=6) == [0, 1, 0, 1, 0, 1]
    every_second = totals(state(START, interval=timedelta(seconds=1)), count=48)
    assert every_second == [3600] * 48, "without a list of them"


def test_cron_expressions_are_followed() -> None:
    assert totals(state(START + 8 * HOUR, schedule="0 8,9 * * *"), count=24) == [0] * 8 + [1, 1] + [0] * 14
    tokyo = state(START + 23 * HOUR, schedule="0 8 * * *", timezone="Asia/Tokyo")
    assert sum(totals(tokyo, count=72)) == 3


def test_bounds_end_a_forecast() -> None:
    bounded = state(START, interval=timedelta(minutes=30), end_at=START + timedelta(minutes=95))
    assert sum(totals(bounded)) == 4
    assert sum(totals(state(START + HOUR, execute_at=START + HOUR))) == 1


def test_overdue_occurrences_count_at_the_beginning() -> None:
    assert totals(state(START - 5 * HOUR, interval=timedelta(days=1)), count=3) == [1, 0, 0]


@pytest.mark.parametrize("doing", ["dead", "paused", "completed", "unreadable"])
def test_held_instances_do_not_count(doing: str) -> None:
    assert sum(totals(state(START, doing, interval=HOUR))) == 0


def test_a_sample_is_extrapolated() -> None:
    states = [state(START + HOUR, schedule="0 1 * * *")] * 10
    seen = forecast({"report": (states, 1000.0)}, START, HOUR, 24)
    assert seen.sampled
    assert seen.totals[1] == 10_000


def test_too_many_occurrences_are_truncated_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it, "MOST_OCCURRENCES", 50)
    seen = forecast({"report": ([state(START, schedule="* * * * *")], 1)}, START, HOUR, 24)
    assert seen.cut
    assert sum(seen.totals) <= 51


def test_peaks() -> None:
    at = START + timedelta(minutes=7, seconds=9)
    crowd = [state(at + timedelta(seconds=turn), interval=HOUR) for turn in range(5)]
    found = peaks({"report": ([*crowd, state(at + HOUR, interval=HOUR)], 2.0)}, 10)
    assert [(peak.task, peak.at, peak.count) for peak in found] == [("report", START + timedelta(minutes=7), 10)]


def test_bars_are_proportional_to_their_values() -> None:
    chart = stacked([{"good": 3, "bad": 1}, {}, {"bad": 2}], ["", "", ""], ["good", "bad"], ticks=[], summary="")
    assert [(part.kind, part.y, part.height) for part in chart.bars[0].segments] == [
        ("good", HEIGHT / 4, HEIGHT * 3 / 4),
        ("bad", 0, HEIGHT / 4),
    ]
    assert chart.bars[1].segments == []
    assert chart.bars[2].segments[0].height == HEIGHT / 2
    assert stacked([], [], [], ticks=[], summary="").top == 0
