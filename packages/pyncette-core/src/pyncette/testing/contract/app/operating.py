"""Random histories of operators, executions and dying workers, and invariants of each."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import anyio
import pytest

from pyncette import Context, ExecutionMode, FailureMode, OnExhausted, Pyncette, PyncetteContext, Retry, Task
from pyncette._tasks.control import CONTROL, decode
from pyncette.errors import PyncetteException
from pyncette.testing.faults import Call, FaultPlan, fail, lose_reply

from .bench import AppBase, Bench, Worker, duration, moment, seconds
from .ledger import EVERYTHING, Ledger
from .listing import listed

LEASE = 20
INTERVAL = 30
RECURRING = ("a", "b", "c")
ATTEMPTS = 2

POLICIES: list[dict[str, Any]] = [
    {},
    {"failure_mode": FailureMode.UNLOCK},
    {"retry": Retry(1000, duration(3), factor=1, jitter=0, max_lost=1000)},
    {"retry": Retry(ATTEMPTS, duration(3), jitter=0, max_lost=1000), "on_exhausted": OnExhausted.HOLD},
    {"execution_mode": ExecutionMode.AT_MOST_ONCE},
]


class History:
    """One template, workers that start and die, and operators, two of whom don't have its code.

    The same seed produces the same history if only the event loop determines the order: on asyncio, in memory.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        self.rng: random.Random = random.Random(seed)
        self.bench: Bench = bench
        self.policies: dict[str, Any] = self.rng.choice(POLICIES)
        self.partitions: int | None = self.rng.choice([None, 3])
        self.plan: FaultPlan = FaultPlan()
        attempts = ATTEMPTS if "on_exhausted" in self.policies else None
        self.ledger: Ledger = Ledger(bench.clock, attempts, once="execution_mode" in self.policies)
        self.failing: bool = True
        self.number: int = 0
        self.retried: int = 0
        self.one_offs: dict[str, float] = {}  # with the earliest due time of each
        self.whole: set[str] = set(RECURRING)  # those that were certainly never replaced

    async def run(self, steps: int) -> list[str]:
        """Run the history. Returns the problems found."""
        before = random.getstate()
        random.seed(self.rng.random())  # randomizes retries of failed writes
        try:
            return await self._run(steps)
        finally:
            random.setstate(before)

    async def _run(self, steps: int) -> list[str]:
        await self._prepare()
        async with AsyncExitStack() as stack:
            operators = [await self._operator(stack, faulty=faulty, code=code) for faulty, code in OPERATORS]
            workers: list[Worker] = []
            for _ in range(steps):
                if len(workers) < 2:
                    workers.append(await stack.enter_async_context(self.bench.running(self.app()[0])))
                await self._step(operators, workers)
            await stack.enter_async_context(self.bench.running(self.app()[0]))
            await self._end(*operators[0])
            return [*self.ledger.check(), *await self._lost(*operators[0])]

    def app(self, *, faulty: bool = False) -> tuple[Pyncette, Task]:
        """An app whose storage calls take a random number of iterations of the event loop."""
        plan = self.plan if faulty else FaultPlan()
        plan.always(self._linger)
        app = self.bench.app(repository_factory=plan.wrap(self.bench.factory))
        options = {"name": "task", "lease_duration": duration(LEASE), **self.policies}
        if self.partitions is None:
            return app, app.dynamic_task(**options)(self._body)
        return app, app.partitioned_task(partition_count=self.partitions, **options)(self._body)

    async def _linger(self, call: Call) -> Any:
        for _ in range(self.rng.choice([0, 0, 1, 5])):
            await anyio.lowlevel.checkpoint()
        return await call()

    async def _body(self, context: Context) -> None:
        with self.ledger.executing(context):
            fails = self.failing and self.rng.random() < 0.3
            await self.bench.clock.sleep(self.rng.choice([0, 0, 1, 4, 15]))
            if fails:
                raise RuntimeError("The task fails, says the test.")

    async def _prepare(self) -> None:
        app, task = self.app()
        async with app.create() as context:
            for name in RECURRING:
                await context.schedule_task(task, name, interval=duration(INTERVAL))

    async def _operator(self, stack: AsyncExitStack, *, faulty: bool, code: bool) -> tuple[PyncetteContext, Task]:
        app, task = self.app(faulty=faulty)
        if code:
            return await stack.enter_async_context(app.create()), task
        foreign = self.bench.app(repository_factory=(self.plan if faulty else FaultPlan()).wrap(self.bench.factory))
        context = await stack.enter_async_context(foreign.create())
        return context, await context.find_task("task")

    async def _step(self, operators: list[tuple[PyncetteContext, Task]], workers: list[Worker]) -> None:
        """Several operators act concurrently, and a worker may die; or time passes; or both."""
        if self.rng.random() < 0.1:
            self.plan.script("swap", self.rng.choice([lose_reply(), fail()]))
        async with anyio.create_task_group() as group:
            for context, task in self.rng.sample(operators, self.rng.choice([0, 1, 1, 2, 3])):
                group.start_soon(self._operate, context, task)
            if self.rng.random() < 0.06:
                worker = workers.pop(self.rng.randrange(len(workers)))
                await worker.kill()
                self.ledger.killed(worker.context)
            await self.bench.advance(self.rng.choice([0, 0, 0.3, 1, 2, 7, 25]))
            await self.bench.advance(3)  # lets failed writes be retried

    async def _operate(self, context: PyncetteContext, task: Task) -> None:
        (operation,) = self.rng.choices([each for each, _ in OPERATIONS], [weight for _, weight in OPERATIONS])
        await operation(self, context, task)

    # Operations. If one raises, it is unknown whether it took place.

    async def pause(self, context: PyncetteContext, task: Task) -> None:
        name = self.rng.choice([EVERYTHING, *RECURRING])
        with suppress(PyncetteException), self.ledger.pauses.begins(name, self.bench.clock):
            await context.pause_task(task, name or None)

    async def resume(self, context: PyncetteContext, task: Task) -> None:
        name = self.rng.choice([EVERYTHING, *RECURRING])
        with suppress(PyncetteException), self.ledger.pauses.ends(name):
            await context.resume_task(task, name or None, catch_up=self.rng.random() < 0.5)

    async def trigger(self, context: PyncetteContext, task: Task) -> None:
        self.number += 1
        name, number = self.rng.choice([*RECURRING, *sorted(self.one_offs)]), self.number
        lives = name in self.whole or name in self.one_offs
        with suppress(PyncetteException):
            await context.trigger_task(task, name, {"number": number})
            if lives and (name in self.whole or name in self.one_offs):
                self.ledger.promised.add((name, f"number {number}"))

    async def update(self, context: PyncetteContext, task: Task) -> None:
        """Change the arguments, but not the schedule."""
        self.number += 1
        name = self.rng.choice(sorted(self.whole) or RECURRING)
        with suppress(PyncetteException):
            await context.schedule_task(task, name, interval=duration(INTERVAL), version=self.number)

    async def replace(self, context: PyncetteContext, task: Task) -> None:
        """Replace or remove an instance. Afterwards only its executions are checked."""
        name = RECURRING[-1]
        self.whole.discard(name)
        with suppress(PyncetteException), self.ledger.pauses.ends(name):
            self.ledger.gone(name)
            if self.rng.random() < 0.3:
                await context.unschedule_task(task, name)
            else:
                await context.schedule_task(task, name, if_exists="replace", interval=duration(INTERVAL))
        self.ledger.gone(name)

    async def once(self, context: PyncetteContext, task: Task) -> None:
        """Schedule a one-off, and perhaps move it."""
        self.number += 1
        name, now = f"once {self.number}", seconds(self.bench.clock.time) or 0
        with suppress(PyncetteException):
            due = now + self.rng.choice([-5, 0, 1, 10, 40])
            await context.schedule_task(task, name, execute_at=moment(due))
            self.one_offs[name] = due
            if self.rng.random() < 0.4:
                self.one_offs[name] = min(due, now + self.number / 7)
                await context.schedule_task(task, name, execute_at=moment(now + self.number / 7))

    async def retry(self, context: PyncetteContext, task: Task) -> None:
        self.retried += "on_exhausted" in self.policies  # at most once per instance, even if the call fails
        with suppress(PyncetteException):
            if self.rng.random() < 0.5:
                await context.retry_task(task, self.rng.choice(RECURRING))
            else:
                await context.retry_dead(task)

    async def backfill(self, context: PyncetteContext, task: Task) -> None:
        self.number += 1
        name, fill = self.rng.choice(RECURRING[:-1]), f"fill{self.number}"
        with suppress(PyncetteException):
            found = await context.backfill_task(task, name, moment(-100), moment(-1), backfill_id=fill)
            self.ledger.fills[fill] = name, found.total
            if self.rng.random() < 0.3:
                del self.ledger.fills[fill]
                await context.cancel_backfill(task, name, fill)

    async def look(self, context: PyncetteContext, task: Task) -> None:
        with suppress(PyncetteException):
            names = [state.task.name for state in await listed(context, task, limit=2)]
            assert self.whole <= set(names)
            assert len(names) == len(set(names))

    # The end: nothing fails any more, and everything is resumed.

    async def _end(self, context: PyncetteContext, task: Task) -> None:
        self.failing = False
        self.plan.clear()
        with self.ledger.pauses.ends(EVERYTHING):
            await context.resume_task(task)
        for name in RECURRING:
            with suppress(PyncetteException), self.ledger.pauses.ends(name):
                await context.resume_task(task, name)
        for _ in range(200):
            if (await context.retry_dead(task)).done:
                self.retried += 1
            await self.bench.advance(7)
            if not await self._unfinished(context, task):
                return

    async def _unfinished(self, context: PyncetteContext, task: Task) -> list[str]:
        """What has yet to be executed."""
        states = await listed(context, task)
        found = [
            f"{state.task.name} is {state.state}, due {seconds(state.scheduled_at)}, with {state.triggered} runs"
            for state in states
            if state.state != "waiting" or state.triggered or state.task.name not in RECURRING
        ]
        (record,) = await self.bench.repository.read([CONTROL])
        asked = () if record is None else decode(record.spec).requested
        found += [f"{run} is looked for" for run in asked]
        found += [f"{run} is under way" for run in self.ledger.under_way()]
        for name in RECURRING[:-1]:
            found += [f"{name} has the backfill {fill}" for fill in await context.list_backfills(task, name)]
        return found

    async def _lost(self, context: PyncetteContext, task: Task) -> list[str]:
        """Leftover work, and occurrences that were neither executed nor skipped."""
        found = await self._unfinished(context, task)
        states = {state.task.name: state for state in await listed(context, task)}
        found += [f"{name} is gone" for name in self.whole - states.keys()]
        found += [f"{name} is still there" for name in self.one_offs.keys() & states.keys()]
        executed = {name for name, _ in self.ledger.begun}
        unexecuted = sorted(name for name, due in self.one_offs.items() if not self.ledger.may_be_lost(due))
        found += [f"{name} was never executed" for name in unexecuted if name not in executed]
        for name in self.whole & states.keys():
            past = ((seconds(states[name].scheduled_at) or 0) - INTERVAL) / INTERVAL
            reported = sum(states[name].totals.values()) - self.ledger.executed(name, "other")
            unreported = self.ledger.unreported(name)
            if not past - unreported <= reported <= past + self.retried:
                found.append(f"{name} had {past} occurrences, of which {reported} were reported, {states[name].totals}")
        return found


OPERATORS = ((False, True), (True, True), (False, False), (True, False))
"""Whether each operator's connection breaks occasionally, and whether it has the code."""

OPERATIONS: list[tuple[Callable[[History, PyncetteContext, Task], Awaitable[None]], int]] = [
    (History.pause, 4),
    (History.resume, 4),
    (History.trigger, 6),
    (History.update, 2),
    (History.replace, 1),
    (History.once, 3),
    (History.retry, 2),
    (History.backfill, 1),
    (History.look, 1),
]


class OperatingContract(AppBase):
    @pytest.mark.parametrize("seed", range(2))
    async def test_operators_workers_and_deaths(self, bench: Bench, seed: int) -> None:
        """In any history of operations, executions and deaths, nothing is lost, nothing starts while it is paused, and
        no run is dropped, or repeated without a lost lease.
        """
        assert await History(bench, seed).run(steps=25) == []
