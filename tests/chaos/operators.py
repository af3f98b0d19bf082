"""An operator of the chaos: schedules, moves, replaces, removes, pauses, resumes and triggers instances while workers
execute them, and records each call.

Arguments: the event loop, the journal, the options of :func:`tests.chaos.worker.declare` as JSON, and the operator's
number. On SIGTERM it resumes everything and removes recurring instances before it ends.
"""

from __future__ import annotations

import functools
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from pyncette import Pyncette, PyncetteContext, Task
from pyncette.errors import PyncetteException, RepositoryException

from .journal import ANSWERED, CALLED, READY, Journal
from .orphans import end_with_parent
from .worker import declare

OWN = 6
SHARED = ("q0", "q1", "q2")
"""Instances that all operators work on at the same time."""
TIMEOUT_SECONDS = 30
SECOND = timedelta(seconds=1)

Act = Callable[["Operator"], Awaitable[None]]


class Operator:
    """An operator, whose actions are decided by a seed."""

    def __init__(self, context: PyncetteContext, task: Task, journal: Journal, seed: int, number: int) -> None:
        self._context = context
        self._task = task
        self._journal = journal
        self._rng = random.Random(f"{seed} {number}")
        self._number = number
        self._calls = 0
        self._one_offs: list[str] = []
        self.names = [f"p{number}.{each}" for each in range(OWN)]

    async def begin(self) -> None:
        for name in (*self.names, *SHARED):
            await self._schedule(name)

    async def act(self) -> None:
        """Do something random after a moment."""
        await anyio.sleep(self._rng.expovariate(8))
        (chosen,) = self._rng.choices([act for act, _ in ACTS], [weight for _, weight in ACTS])
        await chosen(self)

    async def end(self) -> None:
        """Resume everything and remove recurring instances, with as many attempts as necessary."""
        for name in ("", *self.names, *SHARED):
            await self._insist("resume", name, functools.partial(self._context.resume_task, self._task, name or None))
        for name in (*self.names, *SHARED):
            await self._insist("unschedule", name, functools.partial(self._context.unschedule_task, self._task, name))

    async def _insist(self, operation: str, name: str, ask: Callable[[], Awaitable[Any]]) -> None:
        while await self._call(operation, name, ask) == "unknown":  # noqa: ASYNC110 - the storage reports no recovery
            await anyio.sleep(0.2)

    async def _call(self, operation: str, name: str, ask: Callable[[], Awaitable[Any]], word: str = "") -> str:
        self._calls += 1
        self._journal.write(CALLED, self._calls, operation, name or "-", word or "-")
        outcome = "unknown"
        try:
            with anyio.move_on_after(TIMEOUT_SECONDS):
                await ask()
                outcome = "ok"
        except RepositoryException:
            pass
        except PyncetteException:
            outcome = "refused"
        self._journal.write(ANSWERED, self._calls, outcome)
        return outcome

    def _any(self) -> str:
        return self._rng.choice([*self.names, *SHARED])

    async def _schedule(self, name: str) -> None:
        await self._call("schedule", name, lambda: self._context.schedule_task(self._task, name, interval=SECOND))

    # What it may do.

    async def trigger(self) -> None:
        name, number = self._rng.choice([self._any(), *self._one_offs[-3:]]), f"{self._number}.{self._calls}"
        args = {"number": number}
        await self._call("trigger", name, lambda: self._context.trigger_task(self._task, name, args), number)

    async def one_off(self) -> None:
        """Schedule a one-off instance, and perhaps move or remove it."""
        name = f"x{self._number}.{self._calls}"
        self._one_offs.append(name)
        await self._one_off_at(name, self._rng.choice([-5.0, 0.0, 0.5, 1.0, 3.0]))
        chance = self._rng.random()
        if chance < 0.2:
            await self._one_off_at(name, self._rng.choice([0.2, 2.0]))
        elif chance < 0.4:
            await self._call("unschedule", name, lambda: self._context.unschedule_task(self._task, name))

    async def _one_off_at(self, name: str, seconds: float) -> None:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        await self._call("once", name, lambda: self._context.schedule_task(self._task, name, execute_at=at))

    async def pause(self) -> None:
        name = self._any()
        await self._call("pause", name, lambda: self._context.pause_task(self._task, name))

    async def resume(self) -> None:
        name, catch_up = self._any(), self._rng.random() < 0.5
        await self._call("resume", name, lambda: self._context.resume_task(self._task, name, catch_up=catch_up))

    async def pause_all(self) -> None:
        """Pause the template for a moment."""
        await self._call("pause", "", lambda: self._context.pause_task(self._task))
        await anyio.sleep(self._rng.uniform(0, 3))
        await self._call("resume", "", lambda: self._context.resume_task(self._task))

    async def replace(self) -> None:
        name = self._any()
        await self._call(
            "replace",
            name,
            lambda: self._context.schedule_task(self._task, name, if_exists="replace", interval=SECOND),
        )

    async def remove(self) -> None:
        """Remove an instance and schedule it again."""
        name = self._any()
        await self._call("unschedule", name, lambda: self._context.unschedule_task(self._task, name))
        await anyio.sleep(self._rng.uniform(0, 1))
        await self._schedule(name)


ACTS: list[tuple[Act, int]] = [
    (Operator.trigger, 8),
    (Operator.one_off, 8),
    (Operator.pause, 3),
    (Operator.resume, 4),
    (Operator.pause_all, 1),
    (Operator.replace, 2),
    (Operator.remove, 2),
]


async def operate(options: dict[str, Any], journal: Journal, number: int) -> None:
    declared = declare(options)
    stopping = anyio.Event()

    async def listen() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                stopping.set()
                return

    async with anyio.create_task_group() as group, AsyncExitStack() as stack:
        group.start_soon(listen)
        context = await _created(declared.app, stack)
        operator = Operator(context, declared.operated, journal, options["seed"], number)
        await operator.begin()
        journal.write(READY)
        while not stopping.is_set():
            await operator.act()
        await operator.end()


async def _created(app: Pyncette, stack: AsyncExitStack) -> PyncetteContext:
    """Open the app's context, with as many attempts as necessary."""
    while True:
        try:
            return await stack.enter_async_context(app.create())
        except RepositoryException:
            await anyio.sleep(0.2)


if __name__ == "__main__":
    end_with_parent()
    loop, path, text, number = sys.argv[1:]
    anyio.run(operate, json.loads(text), Journal(path), int(number), backend=loop)
