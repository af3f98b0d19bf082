"""Instances are imported from another storage with their next occurrences; names of 1.1.0 are redirected."""

from __future__ import annotations

import datetime
import importlib
from typing import Any

import pytest

from pyncette import Context, Pyncette
from pyncette.testing import ManualClock
from tests.running import running

SECOND = datetime.timedelta(seconds=1)
HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


async def test_next_occurrences_are_kept() -> None:
    clock = ManualClock(START)
    app = Pyncette(clock=clock)
    seen: list[tuple[str, datetime.datetime]] = []

    @app.partitioned_task(partition_count=3)
    async def work(context: Context) -> None:
        seen.append((context.task.name, context.scheduled_at))

    soon, late = START + 7 * SECOND, START - 90 * SECOND
    instances: list[Any] = [
        ("interval", soon, {"interval": HOUR}),
        ("overdue", late, {"interval": HOUR}),
        ("cron", START + HOUR, {"schedule": "0 * * * *"}),
        ("overdue cron", late.replace(second=0), {"schedule": "* * * * *"}),
        ("once", soon, {"execute_at": soon}),
        ("once overdue", late, {"execute_at": late}),
        ("wrong", soon, {"interval": HOUR, "lease_duration": SECOND}),
        ("naive", "2026-01-01", {"interval": HOUR}),
    ]
    async with running(app) as context:
        await context.schedule_task(work, "cron", interval=17 * SECOND)
        result = await context.import_tasks(work, instances[:2])
        again = await context.import_tasks(work, instances, progress=lambda count: None)
        assert (result.done, again.done, [name for name, _ in again.refused]) == (2, 6, ["wrong", "naive"])
        state = await context.get_task(work, "cron")
        assert state is not None
        assert state.task.interval == 17 * SECOND, "what exists stays"
        await clock.advance(HOUR)
    of = {name: [at for seen_name, at in seen if seen_name == name] for name, _ in seen}
    assert of["interval"] == [soon]
    assert of["overdue"] == [late, late + HOUR]
    assert of["overdue cron"][:3] == [late.replace(second=0) + i * 60 * SECOND for i in range(3)]
    assert of["once"] == [soon]
    assert of["once overdue"] == [late]


@pytest.mark.parametrize(
    "name, says",
    [
        ("Context", "from pyncette import Context"),
        ("TaskState", "from pyncette import TaskState"),
        ("NextFunc", "from pyncette.context import NextFunc"),
        ("ContinuationToken", "is a str"),
        ("ResultType", "Write a backend"),
    ],
)
def test_names_of_the_old_model(name: str, says: str) -> None:
    with pytest.raises(ImportError, match=says):
        exec(f"from pyncette.model import {name}")  # noqa: S102 - as users wrote it


@pytest.mark.parametrize("module", ["task", "pyncette", "mongodb"])
def test_modules_that_are_gone(module: str) -> None:
    with pytest.raises(ImportError, match=r"since version 2"):
        importlib.import_module(f"pyncette.{module}")


def test_names_that_the_old_model_did_not_have() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec("from pyncette.model import Nothing")  # noqa: S102 - as above


def test_every_new_place_of_a_name_has_it() -> None:
    model: Any = importlib.import_module("pyncette.model")
    for name, module in model._MOVED.items():
        assert hasattr(importlib.import_module(module), name)
