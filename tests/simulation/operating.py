"""The operations of operators while workers are running."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pyncette import PyncetteContext, Task
from pyncette.errors import PyncetteException, RepositoryException, RepositoryUnavailableException

from .history import History, Operation
from .world import EPOCH, World

Arguments = Mapping[str, Any]


def moment(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def after(seconds: float) -> datetime:
    """A moment this many seconds after the beginning."""
    return moment(EPOCH + round(seconds * 1_000_000))


class Operator:
    """An operator, with an app context that executes nothing."""

    def __init__(
        self, name: str, context: PyncetteContext, tasks: dict[str, Task], world: World, history: History
    ) -> None:
        self.name = name
        self.context = context
        self._tasks = tasks
        self._world = world
        self._history = history

    async def do(self, what: str, arguments: Arguments) -> None:
        """Perform an operation, and record the result."""
        task = self._tasks.get(arguments["task"])
        if task is None:
            return
        operation = Operation(self._world.now, self.name, what, task.name, arguments["name"], dict(arguments))
        self._history.operations.append(operation)
        try:
            operation.result = await _OPERATIONS[what](self, task, arguments)
            operation.outcome = "done"
        except RepositoryUnavailableException:
            operation.outcome = "unknown"
        except RepositoryException as e:
            operation.outcome = "unknown" if "closed" in str(e) or "again and again" in str(e) else "refused"
        except (PyncetteException, ValueError) as e:
            operation.outcome, operation.result = "refused", type(e).__name__
        operation.until = self._world.now

    async def _trigger(self, task: Task, arguments: Arguments) -> Any:
        return await self.context.trigger_task(task, arguments["name"], {"number": arguments["number"]})

    async def _pause(self, task: Task, arguments: Arguments) -> Any:
        name = None if arguments["whole"] else arguments["name"]
        await self.context.pause_task(task, name, reason="by the simulation")

    async def _resume(self, task: Task, arguments: Arguments) -> Any:
        name = None if arguments["whole"] else arguments["name"]
        await self.context.resume_task(task, name, catch_up=arguments["catch_up"])

    async def _once(self, task: Task, arguments: Arguments) -> Any:
        if arguments["name"] is None or not task.dynamic:
            return "nothing"
        at = moment(self._world.now) + timedelta(seconds=arguments["seconds"])
        found = await self.context.schedule_task(task, arguments["name"], execute_at=at, paused=arguments["paused"])
        if arguments["moves"] is None:
            return str(found.scheduling)
        at = moment(self._world.now) + timedelta(seconds=arguments["moves"])
        return str((await self.context.schedule_task(task, arguments["name"], execute_at=at)).scheduling)

    async def _schedule(self, task: Task, arguments: Arguments, **how: Any) -> Any:
        if not task.dynamic:
            return "nothing"
        return str((await self.context.schedule_task(task, arguments["name"], **how)).scheduling)

    async def _update(self, task: Task, arguments: Arguments) -> Any:
        state = await self.context.get_task(task, arguments["name"])
        if state is None or not task.dynamic:
            return "nothing"
        return await self._schedule(
            task, arguments, interval=state.task.interval, args={"version": arguments["number"]}
        )

    async def _reschedule(self, task: Task, arguments: Arguments) -> Any:
        return await self._schedule(task, arguments, interval=timedelta(seconds=arguments["seconds"]))

    async def _bounded(self, task: Task, arguments: Arguments) -> Any:
        start, end = arguments["start"], arguments["end"]
        now = moment(self._world.now)
        return await self._schedule(
            task,
            arguments,
            interval=timedelta(seconds=7),
            max_runs=arguments["max_runs"],
            start_at=None if start is None else now + timedelta(seconds=start),
            end_at=None if end is None else now + timedelta(seconds=end),
        )

    async def _keep(self, task: Task, arguments: Arguments) -> Any:
        return await self._schedule(task, arguments, interval=timedelta(seconds=7), if_exists="keep")

    async def _replace(self, task: Task, arguments: Arguments) -> Any:
        return await self._schedule(task, arguments, interval=timedelta(seconds=7), if_exists="replace")

    async def _unschedule(self, task: Task, arguments: Arguments) -> Any:
        if task.dynamic:
            await self.context.unschedule_task(task, arguments["name"])

    async def _retry(self, task: Task, arguments: Arguments) -> Any:
        return await self.context.retry_task(task, arguments["name"])

    async def _retry_dead(self, task: Task, arguments: Arguments) -> Any:
        return (await self.context.retry_dead(task)).done

    async def _backfill(self, task: Task, arguments: Arguments) -> Any:
        fill = await self.context.backfill_task(
            task, arguments["name"], after(-40), after(-1), backfill_id=f"fill {arguments['number']}"
        )
        return fill.total

    async def _cancel_backfill(self, task: Task, arguments: Arguments) -> Any:
        for fill in await self.context.list_backfills(task, arguments["name"]):
            await self.context.cancel_backfill(task, arguments["name"], fill.id)

    async def _recompute(self, task: Task, arguments: Arguments) -> Any:
        return await self.context.recompute(task)

    async def _list(self, task: Task, arguments: Arguments) -> Any:
        if not task.dynamic:
            return []
        names: list[str] = []
        token: str | None = None
        while True:
            page = await self.context.list_tasks(task, limit=2, continuation_token=token)
            names += [state.task.name for state in page.tasks]
            token = page.continuation_token
            if token is None:
                return names

    async def _count(self, task: Task, arguments: Arguments) -> Any:
        if task.dynamic:
            return (await self.context.count_tasks(task)).value
        return None

    async def _get(self, task: Task, arguments: Arguments) -> Any:
        state = await self.context.get_task(task, arguments["name"])
        return state and str(state.state)

    async def _bulk(self, task: Task, arguments: Arguments) -> Any:
        if not task.dynamic:
            return None
        names = [f"{arguments['name']}.{each}" for each in range(arguments["count"])]
        at = moment(self._world.now) + timedelta(seconds=3)
        done = await self.context.schedule_tasks(task, [(name, {"execute_at": at}) for name in names])
        return sorted(set(names) - {name for name, *_ in done.refused})

    async def _purge(self, task: Task, arguments: Arguments) -> Any:
        return await self.context.purge(task.name)

    async def _later(self, task: Task, arguments: Arguments) -> Any:
        at = moment(self._world.now) + timedelta(seconds=arguments["seconds"])
        return await self._schedule(task, arguments, execute_at=at)


_OPERATIONS: dict[str, Callable[[Operator, Task, Arguments], Awaitable[Any]]] = {
    name.removeprefix("_"): function
    for name, function in vars(Operator).items()
    if name.startswith("_") and not name.startswith("__") and name != "_schedule"
}
