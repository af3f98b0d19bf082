"""The program of the simulated processes, in an earlier and a later version."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from pyncette import Context, Pyncette, Task
from pyncette.errors import GiveUp, RetryLater, Skip
from pyncette.repository import Repository

from .history import Execution, History
from .loop import Process
from .plan import Plan, Settings, TaskPlan
from .world import World


class TheTaskFails(Exception):
    """The failure of a task, as the simulation decided."""


class Behaviour:
    """The behaviour of task functions. It depends only on the attempt, not on who executes it or when.

    :ivar healed: whether executions no longer fail or take long.
    """

    def __init__(self, plan: Plan, world: World, history: History) -> None:
        self._plan = plan
        self._world = world
        self._history = history
        self.healed = False

    def of(self, task: TaskPlan, process: Process) -> Any:
        """The function of a task."""

        async def function(context: Context) -> None:
            execution = self._begun(context, process)
            try:
                await self._do(task, execution, context)
                execution.outcome = "succeeded"
            except asyncio.CancelledError:
                execution.outcome = "cancelled"
                raise
            except Exception as e:
                execution.outcome = type(e).__name__
                raise
            finally:
                execution.until = self._world.now

        return function

    def _begun(self, context: Context, process: Process) -> Execution:
        execution = Execution(
            self._world.now,
            process.name,
            context.task.name if context.task.parent_task is None else context.task.parent_task.name,
            context.task.name,
            context.task.ref.key,
            context.trigger,
            round(context.scheduled_at.timestamp() * 1_000_000),
            context.run_id,
            context.attempt,
            context.fencing_token,
            context.args,
        )
        self._history.executions.append(execution)
        return execution

    async def _do(self, task: TaskPlan, execution: Execution, context: Context) -> None:
        run = execution.run_id if execution.trigger == "backfill" else ""
        text = f"{self._plan.seed} {execution.key} {execution.due} {run} {execution.attempt}"
        chance = zlib.crc32(text.encode())
        await asyncio.sleep(0.0 if self.healed else task.lasts[chance % len(task.lasts)])
        chance //= 64
        if chance % 16 == 0:
            await context.heartbeat()
        chance //= 16
        if self.healed or chance % 100 >= task.fails:
            return
        chance //= 100
        if chance % 8 == 0:
            raise Skip("says the simulation")
        if chance % 8 == 1:
            raise GiveUp("says the simulation")
        if chance % 8 == 2 and execution.attempt < 4:
            raise RetryLater(timedelta(seconds=2), count=chance % 3 == 0)
        raise TheTaskFails


def make_program(
    plan: Plan, process: Process, version: int, repository: Repository, behaviour: Behaviour | None
) -> tuple[Pyncette, dict[str, Task]]:
    """The app of one process, with its tasks by name. An operator's tasks have no behaviour."""
    settings: Settings = plan.settings
    app = Pyncette(
        repository_factory=lambda: nullcontext(repository),
        poll_interval=timedelta(seconds=settings.poll_interval),
        batch_size=settings.batch_size,
        concurrency_limit=settings.concurrency_limit,
        register_worker=settings.registers,
        worker_name=process.name,
        drain_timeout=timedelta(seconds=20),
        history=timedelta(days=7),
    )
    tasks = {}
    for task in plan.tasks:
        if task.since <= version:
            tasks[task.name] = _declare(app, task, version, process, behaviour)
    return app, tasks


def _declare(app: Pyncette, task: TaskPlan, version: int, process: Process, behaviour: Behaviour | None) -> Task:
    function = _nothing if behaviour is None else behaviour.of(task, process)
    policies = dict(task.policies)
    if task.kind == "static":
        every = task.changed if version > 1 and task.changed is not None else task.interval
        return app.task(name=task.name, interval=timedelta(seconds=every), **policies)(function)
    if task.kind == "partitioned":
        return app.partitioned_task(name=task.name, partition_count=2, **policies)(function)
    return app.dynamic_task(name=task.name, **policies)(function)


async def _nothing(context: Context) -> None: ...
