"""The decision table: all cells are executed side by side, those with a restart on two workers, the rest on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pytest

from pyncette import CatchUp, Context, ExecutionMode, Overlap, Pyncette, PyncetteContext, Retry, Task
from pyncette._tasks.state import latest_runs, totals
from pyncette.record import Band, Record

from .bench import START, AppBase, Bench, duration
from .cells import CELLS, SAMPLE, Cell

MODES = {"at least once": ExecutionMode.AT_LEAST_ONCE, "at most once": ExecutionMode.AT_MOST_ONCE}
MICROSECONDS = 1_000_000


PARTS: int = 6
"""The table is split into this many tests, because slow stores would take minutes for all of it."""


class DecisionContract(AppBase):
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "cells" in metafunc.fixturenames:
            parts = {"sample": SAMPLE}
            if metafunc.config.getoption("thorough", default=False):
                parts = {f"part {number + 1} of {PARTS}": CELLS[number::PARTS] for number in range(PARTS)}
            metafunc.parametrize("cells", list(parts.values()), ids=list(parts))

    async def test_the_decision_table(self, bench: Bench, cells: Sequence[Cell]) -> None:
        """What is executed and when, for each kind of policy with each thing that can happen to a run, a pause and a
        restart, matches a table written by hand.
        """
        await check(bench, cells)


@dataclass
class Observed:
    """A cell, and what actually happens."""

    cell: Cell
    task: Task
    executed: list[str] = field(default_factory=list)
    stored: str = ""

    async def run(self, context: Context, bench: Bench) -> None:
        due, at = _second(context.scheduled_at), _second(bench.clock.time)
        place, first = len(self.executed), due == 60 and context.attempt == 1
        self.executed.append(f"{due}@{at}" + (f"#{context.attempt}" if context.attempt > 1 else ""))
        if first and self.cell.run == "fails":
            raise RuntimeError("The task fails, says the test.")
        if first and self.cell.run == "long":
            self.executed[place] += "!"
            await bench.clock.sleep(210)
            self.executed[place] = self.executed[place].rstrip("!")

    def differences(self, record: Record | None) -> Iterator[str]:
        assert record is not None
        cell = self.cell
        executed = sorted(self.executed, key=_order)
        for what, found, expected in (
            ("executed", " ".join(executed), cell.executed),
            ("skipped", skipped(record), cell.skipped),
            ("stored at 200", self.stored, cell.stored),
            ("stored at 280", state(record), "300 300 0"),
            ("counted", totals(record.state), outcomes(cell)),
        ):
            if found != expected:
                yield f"{cell}: {what} {found}, not {expected}"


class Scene:
    """Cells on two workers of an app."""

    def __init__(self, bench: Bench, cells: Iterable[Cell], name: str) -> None:
        self.bench = bench
        self.app: Pyncette = bench.app(concurrency_limit=1000, batch_size=1000)
        self.lives: dict[str, Observed] = {}
        self.templates: list[tuple[Task, list[Observed]]] = []
        by_policies = groupby(sorted(cells, key=lambda cell: cell.policies), key=lambda cell: cell.policies)
        for number, (_, group) in enumerate(by_policies):
            self._declare(f"{name}{number}", list(group))

    def _declare(self, name: str, cells: Sequence[Cell]) -> None:
        async def body(context: Context) -> None:
            await self.lives[context.task.canonical_name].run(context, self.bench)

        template = self.app.dynamic_task(name=name, **policies(cells[0]))(body)
        lives = [
            Observed(cell, template.instantiate(f"{cell.run} {cell.pause}", interval=duration(60))) for cell in cells
        ]
        self.templates.append((template, lives))
        self.lives.update((life.task.canonical_name, life) for life in lives)

    async def schedule(self, context: PyncetteContext) -> None:
        for template, lives in self.templates:
            instances = [(life.task.name, {"interval": duration(60)}) for life in lives]
            assert (await context.schedule_tasks(template, instances)).done == len(lives)

    async def pause(self, context: PyncetteContext) -> None:
        for template, lives in self.templates:
            names = [life.task.name for life in lives if life.cell.pause != "none"]
            assert (await context.pause_tasks(template, names)).done == len(names)

    async def resume(self, context: PyncetteContext) -> None:
        for template, lives in self.templates:
            for how in ("skipped", "missed"):
                names = [life.task.name for life in lives if life.cell.pause == how]
                result = await context.resume_tasks(template, names, catch_up=how == "missed")
                assert result.done == len(names)

    async def stored(self) -> dict[str, Record | None]:
        lives = list(self.lives.values())
        records = await self.bench.repository.read([life.task.ref for life in lives])
        return {life.task.canonical_name: record for life, record in zip(lives, records, strict=True)}


async def check(bench: Bench, cells: Sequence[Cell]) -> None:
    """Execute the cells, and compare."""
    steady = Scene(bench, (cell for cell in cells if cell.restart == "no"), "steady")
    killed = Scene(bench, (cell for cell in cells if cell.restart == "yes"), "killed")
    scenes = (steady, killed)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bench.running(steady.app))
        worker = await stack.enter_async_context(bench.running(steady.app))
        # Separate from the workers, because a worker knows immediately what its own process stores.
        operators = (worker.context, await stack.enter_async_context(killed.app.create()))
        for scene, operator in zip(scenes, operators, strict=True):
            await scene.schedule(operator)
        async with bench.running(killed.app) as one, bench.running(killed.app) as other:
            await bench.advance_to(70)
            await one.kill()
            await other.kill()
        await bench.advance_to(85)
        for scene, operator in zip(scenes, operators, strict=True):
            await scene.pause(operator)
        await bench.advance_to(200)
        for scene in scenes:
            for name, record in (await scene.stored()).items():
                scene.lives[name].stored = state(record)
        await bench.advance_to(205)
        for scene, operator in zip(scenes, operators, strict=True):
            await scene.resume(operator)
        await bench.advance_to(270)
        for _ in range(2):
            await stack.enter_async_context(bench.running(killed.app))
        await bench.advance_to(280)
        found = {name: record for scene in scenes for name, record in (await scene.stored()).items()}
    lives = {**steady.lives, **killed.lives}
    assert len(lives) == len(cells)
    differences = [line for name, life in lives.items() for line in life.differences(found[name])]
    assert not differences, "\n".join(differences)


def policies(cell: Cell) -> dict[str, Any]:
    """The policies of a cell, as parameters of a task."""
    found: dict[str, Any] = {
        "execution_mode": MODES[cell.mode],
        "catch_up": CatchUp(cell.catch_up),
        "overlap": Overlap(cell.overlap),
        "keep_runs": 20,
    }
    if cell.lateness != "none":
        found["max_lateness"] = duration(100)
    if cell.retry != "none":
        found["retry"] = Retry(2, delay=duration(150), jitter=0)
    return found


def state(record: Record | None) -> str:
    """Occurrence, when it may be claimed, attempts; in seconds."""
    assert record is not None
    ready = str(_seconds(record.ready_at))
    if Band.of(record.ready_at) is Band.PAUSED:
        ready = "paused"
    elif record.locked_by:
        ready = "lease"
    return f"{_seconds(record.due_at)} {ready} {record.attempt}"


def skipped(record: Record) -> str:
    """What was skipped, according to the record."""
    skips = [run for run in latest_runs(record.state) if run.outcome == "skipped"]
    ranges = [(run.reason, run.scheduled_at, run.last or run.scheduled_at, run.count) for run in skips]
    return ", ".join(f"{reason} {_seconds(first)}-{_seconds(last)} x{count}" for reason, first, last, count in ranges)


def outcomes(cell: Cell) -> dict[str, int]:
    """The expected number of occurrences by outcome."""
    others = {execution.partition("@")[0] for execution in cell.executed.split()} - {"60"}
    counted = Counter([cell.first, *["succeeded"] * len(others)])
    for skip in filter(None, cell.skipped.split(", ")):
        reason, _, count = skip.split()
        counted[reason] += int(count.removeprefix("x"))
    return {"succeeded": 0, **counted}


def _order(execution: str) -> tuple[int, int]:
    """The sort key: by beginning, then, for simultaneous executions on two workers, by occurrence."""
    due, _, at = execution.partition("@")
    return int(at.partition("#")[0].rstrip("!")), int(due)


def _seconds(microseconds: int) -> int:
    return microseconds // MICROSECONDS - int(START.timestamp())


def _second(moment: Any) -> int:
    return int((moment - START).total_seconds())
