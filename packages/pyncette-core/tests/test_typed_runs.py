"""Typed arguments of a single run, in addition to the stored ones."""

from __future__ import annotations

import datetime
from typing import Any, NotRequired

import anyio
import pytest
from typing_extensions import TypedDict

from pyncette import Context, Pyncette, Task
from pyncette.testing import ManualClock

SECOND, HOUR = datetime.timedelta(seconds=1), datetime.timedelta(hours=1)


class Export(TypedDict):
    user_id: int
    columns: NotRequired[list[str]]


@pytest.mark.parametrize("kind", ["static", "template", "instance"])
async def test_a_model_is_checked_when_a_run_is_requested(kind: str) -> None:
    """Together with the stored arguments, which the run's own override."""
    clock, seen = ManualClock(datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)), list[Any]()
    app = Pyncette(clock=clock)

    async def export(context: Context, what: Export, /) -> None:
        seen.append((context.trigger, what))

    task: Task = (
        app.task(interval=HOUR, user_id=5)(export) if kind == "static" else app.dynamic_task(interval=HOUR)(export)
    )
    target = task.instantiate("a", interval=HOUR, user_id=5) if kind == "instance" else task
    name = "a" if kind == "template" else None
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.settle()
        if kind != "static":
            await context.schedule_task(task, "a", user_id=5)
        for wrong in ({"user_id": "5"}, {"columns": 5}):
            with pytest.raises(TypeError, match=f"The argument {next(iter(wrong))} of 'export': it should be"):
                await context.trigger_task(target, name, args=wrong)
            if kind == "template":
                result = await context.trigger_tasks(task, ["a"], args=wrong)
                assert [(refused, type(error)) for refused, error in result.refused] == [("a", TypeError)]
        await context.trigger_task(target, name, args={"columns": ["name"]})
        await clock.advance(5 * SECOND)
        context.shutdown()
        await clock.settle()
    assert seen == [("manual", {"user_id": 5, "columns": ["name"]})]
