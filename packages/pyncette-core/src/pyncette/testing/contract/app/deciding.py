"""The decision table, executed by two workers."""

from __future__ import annotations

from typing import Any

import pytest

from pyncette import CatchUp, Context, ExecutionMode, Overlap, Retry
from pyncette._tasks.state import latest_runs
from pyncette.record import Record

from .bench import START, AppBase, Bench, duration
from .cells import SAMPLE, Cell

MODES = {"at least once": ExecutionMode.AT_LEAST_ONCE, "at most once": ExecutionMode.AT_MOST_ONCE}
MICROSECONDS = 1_000_000


class DecisionContract(AppBase):
    @pytest.mark.parametrize("cell", SAMPLE, ids=str)
    async def test_the_decision_table(self, bench: Bench, cell: Cell) -> None:
        """What is executed and when, for each kind of policies and each thing that can happen to a run, as a table
        written by hand says."""
        await check(bench, cell)


async def check(bench: Bench, cell: Cell) -> None:
    """Live through a cell of the table."""
    app, executed = bench.app(), list[str]()

    @app.task(interval=duration(60), **policies(cell))
    async def task(context: Context) -> None:
        due, at = _second(context.scheduled_at), _second(bench.clock.time)
        executed.append(f"{due}@{at}" + (f"#{context.attempt}" if context.attempt > 1 else ""))
        if due == 60 and cell.event == "fails" and context.attempt == 1:
            raise RuntimeError("The task fails, says the test.")
        if due == 60 and cell.event == "long":
            place = len(executed) - 1
            executed[place] += "!"
            await bench.clock.sleep(210)
            executed[place] = executed[place].rstrip("!")

    async with bench.running(app), bench.running(app):
        await bench.advance_to(70 if cell.event == "down" else 200)
        if cell.event != "down":
            assert state(await bench.stored(task)) == cell.at_200
            await bench.advance_to(280)
    if cell.event == "down":
        await bench.advance_to(200)
        assert state(await bench.stored(task)) == cell.at_200
        await bench.advance_to(270)
        async with bench.running(app), bench.running(app):
            await bench.advance_to(280)
    record = await bench.stored(task)
    assert sorted(executed, key=_order) == cell.executed.split()
    assert skipped(record) == cell.skipped
    assert state(record) == "300 300 0"


def policies(cell: Cell) -> dict[str, Any]:
    """The policies of a cell, as parameters of a task."""
    found: dict[str, Any] = {
        "execution_mode": MODES[cell.mode],
        "catch_up": CatchUp(cell.catch_up),
        "overlap": Overlap(cell.overlap),
        "keep_runs": 20,
    }
    if cell.max_lateness != "none":
        found["max_lateness"] = duration(100)
    if cell.event == "fails":
        found["retry"] = Retry(2, delay=duration(210), jitter=0)
    return found


def state(record: Record | None) -> str:
    """Occurrence, when it may be claimed, attempts; in seconds."""
    assert record is not None
    ready = "lease" if record.locked_by else _seconds(record.ready_at)
    return f"{_seconds(record.due_at)} {ready} {record.attempt}"


def skipped(record: Record | None) -> str:
    """What was skipped, by what the record remembers."""
    assert record is not None
    skips = [run for run in latest_runs(record.state) if run.outcome == "skipped"]
    ranges = [(run.reason, run.scheduled_at, run.last or run.scheduled_at, run.count) for run in skips]
    return ", ".join(f"{reason} {_seconds(first)}-{_seconds(last)} x{count}" for reason, first, last, count in ranges)


def _order(execution: str) -> tuple[int, int]:
    """Those that begin at the same moment, on two workers, by their occurrence."""
    due, _, at = execution.partition("@")
    return int(at.partition("#")[0].rstrip("!")), int(due)


def _seconds(microseconds: int) -> int:
    return microseconds // MICROSECONDS - int(START.timestamp())


def _second(moment: Any) -> int:
    return int((moment - START).total_seconds())
