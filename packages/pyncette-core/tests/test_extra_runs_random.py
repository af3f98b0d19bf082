"""Random operations on instances that are triggered: no run is dropped, none doubled without a lost lease."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import anyio
import pytest

from pyncette import Context, FailureMode, Pyncette, PyncetteContext, Retry, Task
from pyncette._tasks.control import CONTROL, decode
from pyncette.errors import PyncetteException, TooManyRunsException
from pyncette.memory import MemoryRepository
from pyncette.testing import FaultPlan
from pyncette.testing.contract.app.bench import Bench, Worker, duration
from pyncette.testing.faults import fail, lose_reply

LEASE = 20
SEEDS = 12

POLICIES: list[dict[str, Any]] = [
    {},
    {"failure_mode": FailureMode.UNLOCK},
    {"retry": Retry(50, duration(3), jitter=0, max_lost=50)},
]


class History:
    """What was asked for and what was executed, by number; occurrences are numbered by their moment."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.promised: set[str] = set()
        self.begun: Counter[str] = Counter()
        self.succeeded: Counter[str] = Counter()
        self.open: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()

    async def execute(self, context: Context, clock: Any) -> None:
        number = context.args.get("number", f"due {context.scheduled_at}")
        assert self.open[number] <= self.excused[number], "executed twice at a time, and no lease was lost"
        self.begun[number] += 1
        self.open[number] += 1
        fails = self.rng.random() < 0.2
        await clock.sleep(self.rng.choice([0, 0, 1, 4]))
        self.open[number] -= 1
        if fails:
            raise RuntimeError("The task fails, says the test.")
        self.succeeded[number] += 1

    def killed(self) -> None:
        """Whatever was under way may be executed once more, and so may be what was being settled."""
        for number in self.begun:
            self.excused[number] += 1
        self.open.clear()


class Scene:
    """Workers and an operator on one storage."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.repository = MemoryRepository()
        self.bench = Bench(lambda **_: nullcontext(self.repository), self.repository)
        self.history = History(self.rng)
        self.policies = self.rng.choice(POLICIES)
        self.plan = FaultPlan()
        self.numbers = 0

    def app(self, **options: Any) -> tuple[Pyncette, Task]:
        app = self.bench.app(**options)

        async def body(context: Context) -> None:
            await self.history.execute(context, self.bench.clock)

        task = app.dynamic_task(name="task", lease_duration=duration(LEASE), **self.policies)(body)
        return app, task

    async def step(self, operator: PyncetteContext, task: Task, workers: list[Worker]) -> None:
        choice = self.rng.random()
        if choice < 0.45:
            await self._trigger(operator, task)
        elif choice < 0.6:
            whole = self.rng.random() < 0.5
            name = None if whole else "a"
            pauses = self.rng.random() < 0.5
            await (operator.pause_task(task, name) if pauses else operator.resume_task(task, name, catch_up=True))
        elif choice < 0.68 and workers:
            await workers.pop().kill()
            self.history.killed()
        else:
            await self.bench.advance(self.rng.choice([0.3, 1, 2, 7, 25]))

    async def _trigger(self, operator: PyncetteContext, task: Task) -> None:
        self.numbers += 1
        number = f"{self.numbers}"
        if self.rng.random() < 0.6:
            await self._ask(operator, task, number)
            return
        self.plan.script("swap", self.rng.choice([lose_reply(), fail()]))
        async with anyio.create_task_group() as group:
            group.start_soon(self._ask, operator, task, number)
            await self.bench.advance(3)  # it is tried again
        self.plan.clear()

    async def _ask(self, operator: PyncetteContext, task: Task, number: str) -> None:
        try:
            await operator.trigger_task(task, "a", {"number": number})
        except TooManyRunsException:
            return
        except PyncetteException:
            return  # whether there will be a run is unknown
        self.history.promised.add(number)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_trigger_is_one_run(seed: int) -> None:
    scene = Scene(seed)
    history, bench = scene.history, scene.bench
    app, _ = scene.app()
    faulty, steered = scene.app(repository_factory=scene.plan.wrap(bench.factory))
    async with faulty.create() as operator:
        await operator.schedule_task(steered, "a", interval=duration(30))
        async with AsyncExitStack() as stack:
            workers: list[Worker] = []
            for _ in range(40):
                if not workers:
                    workers.append(await stack.enter_async_context(bench.running(app)))
                await scene.step(operator, steered, workers)
            await stack.enter_async_context(bench.running(app))
            await operator.resume_task(steered, catch_up=True)
            await operator.resume_task(steered, "a", catch_up=True)
            for _ in range(100):
                await bench.advance(10)
                state = await operator.get_task(steered, "a")
                assert state is not None
                if not state.triggered:
                    break
            await bench.advance(5)
        (control,) = await scene.repository.read([CONTROL])
        state = await operator.get_task(steered, "a")
    assert state is not None
    assert state.triggered == 0
    assert control is None or decode(control.spec).asked == ()
    assert {number for number in history.promised if not history.succeeded[number]} == set(), "dropped"
    doubled = {n: c for n, c in history.succeeded.items() if c > 1 + history.excused[n]}
    assert doubled == {}, "executed again, and no lease was lost"
