"""The load of many workers on their shared storage, and their lateness."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest

from pyncette import Context, Pyncette, Task

from .fleet import START, Fleet, one_task, spread

SECONDS = 2


@pytest.mark.parametrize("workers", [2, 8])
def test_workers_take_turns(workers: int) -> None:
    """500 occurrences per second, and round trips of 2 ms. All workers know when each occurrence comes due."""
    counts = Fleet(workers, latency=0.002, instances=spread(500, SECONDS), declare=one_task).run(SECONDS + 1)
    assert len(counts.lags) == 500 * SECONDS
    assert counts.trips <= 1.2 * len(counts.lags)
    assert counts.empty <= 0.15 * counts.calls["claim"]
    assert statistics.median(counts.lags) < 0.010
    assert max(counts.lags) < 0.025
    assert max(counts.each.values()) < 2 * len(counts.lags) / workers


def test_a_worker_without_a_free_slot_is_passed_over() -> None:
    """With long executions, a worker without free slots doesn't keep the others waiting for longer than its turn."""
    fleet = Fleet(4, latency=0.002, instances=spread(30, SECONDS), declare=one_task, busy=1, concurrency_limit=10)
    counts = fleet.run(SECONDS + 3)
    assert len(counts.lags) == 30 * SECONDS
    assert max(counts.lags) < 0.050


def test_a_storage_far_away() -> None:
    """5,000 overdue occurrences, and round trips of 20 ms: claims must not be sent one after another."""
    due = [(f"{number}", {"execute_at": START}) for number in range(5_000)]
    fleet = Fleet(1, latency=0.02, instances=due, declare=one_task, concurrency_limit=1000)
    counts = fleet.run(0)
    assert len(counts.lags) == len(due)
    took = max(counts.lags) - min(counts.lags)
    assert took < len(due) / 100 * 0.02 / 4, "of what one claim after the other takes, this is a quarter"


def test_an_occurrence_that_comes_alone() -> None:
    """It costs only a claim and a settlement. The regular query about all queues, once per second, has announced it."""
    counts = Fleet(1, latency=0.002, instances=spread(20, SECONDS), declare=one_task).run(SECONDS + 1)
    assert len(counts.lags) == 20 * SECONDS
    assert counts.calls["claim"] <= len(counts.lags)
    assert counts.calls["swap"] <= len(counts.lags) + 1, "one is of the worker's own record"
    assert counts.calls["look"] <= SECONDS + 3
    assert max(counts.lags) < 0.010


def test_thousands_of_templates_beside() -> None:
    """Between two polls, claims and queries name only templates with something due."""
    named: list[int] = []

    def declare(app: Pyncette, body: Callable[[Context], Any]) -> Task:
        for number in range(1_000):
            app.dynamic_task(name=f"other {number}")(body)
        return one_task(app, body)

    fleet = Fleet(2, latency=0.002, instances=spread(20, SECONDS), declare=declare, named=named.append)
    counts = fleet.run(SECONDS + 1)
    assert len(counts.lags) == 20 * SECONDS
    assert sum(count > 1 for count in named) <= 2 * (SECONDS + 3)
