"""Pauses combined with other pauses, dead instances, backlogs and waiting runs: cases found by random histories."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from pyncette import (
    CatchUp,
    Context,
    ExecutionMode,
    FailureMode,
    OnExhausted,
    Overlap,
    Policies,
    PyncetteContext,
    Retry,
    Task,
)
from pyncette._lifecycle.cutting import superseded_at
from pyncette._tasks.spec import Spec, encode
from pyncette.memory import MemoryRepository
from pyncette.record import HELD, Record
from pyncette.schedule import Interval
from pyncette.testing.contract.app.bench import START, Bench, duration

TEN = duration(10)


@pytest.fixture
def bench() -> Bench:
    repository = MemoryRepository()
    return Bench(lambda **_: nullcontext(repository), repository)


async def totals(context: PyncetteContext, task: Task) -> dict[str, int]:
    state = await context.get_task(task, "a")
    assert state is not None
    return dict(state.totals)


async def test_a_pause_of_the_template_after_one_of_the_instance_in_a_backlog(bench: Bench) -> None:
    """What came due before, between and after them is executed; the rest is skipped and reported once."""
    app = bench.app()
    task = app.dynamic_task(name="task")(bench.log.note)
    async with app.create() as context:
        await context.schedule_task(task, "a", interval=TEN)
        for at, name in ((25, "a"), (65, None)):
            await bench.advance_to(at)
            await context.pause_task(task, name)
            await bench.advance_to(at + 20)
            await context.resume_task(task, name)
    async with bench.running(app) as worker:
        await bench.advance_to(91)
        assert await totals(worker.context, task) == {"succeeded": 5, "paused": 4}
    assert bench.log.due() == [10, 20, 50, 60, 90]


async def test_an_instance_that_is_paused_within_a_pause_of_its_template(bench: Bench) -> None:
    app = bench.app()
    task = app.dynamic_task(name="task")(bench.log.note)
    async with app.create() as context:
        await context.schedule_task(task, "a", interval=TEN)
        await bench.advance_to(5)
        await context.pause_task(task)
        await bench.advance_to(25)
        await context.pause_task(task, "a")
        await bench.advance_to(45)
        await context.resume_task(task, "a")
        await bench.advance_to(65)
        await context.resume_task(task)
    async with bench.running(app) as worker:
        await bench.advance_to(71)
        assert await totals(worker.context, task) == {"succeeded": 1, "paused": 6}
    assert bench.log.due() == [70]


async def test_an_instance_that_dies_after_a_pause(bench: Bench) -> None:
    """Occurrences that were skipped for the pause are not reported again when the dead instance is retried."""
    app = bench.app()
    options: dict[str, Any] = {"retry": Retry(1), "on_exhausted": OnExhausted.HOLD}
    task = app.dynamic_task(name="task", **options)(bench.log.failing(1))
    async with app.create() as context:
        await context.schedule_task(task, "a", interval=TEN)
        await bench.advance_to(25)
        await context.pause_task(task, "a")
        await bench.advance_to(45)
        await context.resume_task(task, "a")
    async with bench.running(app) as worker:
        await bench.advance_to(75)
        assert await worker.context.retry_task(task, "a")
        await bench.advance_to(81)
        assert await totals(worker.context, task) == {"failed": 1, "succeeded": 2, "paused": 2, "dead": 4}
    assert bench.log.due() == [10, 10, 80]


async def test_a_pause_while_a_lease_stays_until_the_retry(bench: Bench) -> None:
    """Neither the retry nor a backfill begins before the instance is resumed, whatever else is requested."""
    app = bench.app()
    task = app.dynamic_task(name="task", failure_mode=FailureMode.NONE, lease_duration=duration(20))(
        bench.log.failing(1)
    )
    async with bench.running(app) as worker:
        await worker.context.schedule_task(task, "a", interval=TEN)
        await bench.advance_to(12)
        await worker.context.pause_task(task, "a")
        await worker.context.backfill_task(task, "a", START - duration(15), START)
        await bench.advance_to(50)
        assert bench.log.due() == [10]
        await worker.context.resume_task(task, "a")
        await bench.advance_to(51)
    assert sorted(set(bench.log.due())) == [-10, 0, 10, 50], "what came due meanwhile is skipped"


async def test_a_pause_while_a_backfill_fails(bench: Bench) -> None:
    """Its retries wait as well, and the moment starts over; a manual run is executed in the meantime."""
    app = bench.app()
    task = app.dynamic_task(name="task", retry=Retry(3, duration(5), factor=1, jitter=0))(bench.log.failing(2))
    async with bench.running(app) as worker:
        await worker.context.schedule_task(task, "a", interval=duration(1000))
        await worker.context.backfill_task(task, "a", START, START)
        await bench.advance_to(2)
        assert bench.log.due() == [0]
        await worker.context.pause_task(task, "a")
        await bench.advance_to(30)
        assert len(bench.log.runs) == 1
        await worker.context.trigger_task(task, "a")
        await bench.advance_to(60)
        assert bench.log.due() == [0, 30, 30]
        state = await worker.context.get_task(task, "a")
        assert state is not None
        assert (state.state, state.triggered) == ("paused", 0)
        await worker.context.resume_task(task, "a")
        await bench.advance_to(65)
        assert await worker.context.list_backfills(task, "a") == []
    assert bench.log.due() == [0, 30, 30, 0]


async def test_a_worker_that_dies_with_a_backfill_that_is_paused(bench: Bench) -> None:
    app = bench.app()
    task = app.dynamic_task(name="task", lease_duration=duration(20))(bench.log.lasting(10))
    async with bench.running(app) as worker:
        await worker.context.schedule_task(task, "a", interval=duration(1000))
        await worker.context.backfill_task(task, "a", START, START)
        await bench.advance_to(2)
        await worker.context.pause_task(task, "a")
        await worker.kill()
    async with bench.running(app) as worker:
        await bench.advance_to(100)
        assert bench.log.due() == [0]
        await worker.context.resume_task(task, "a")
        await bench.advance_to(115)
        assert await worker.context.list_backfills(task, "a") == []
    assert bench.log.due() == [0, 0]


@pytest.mark.parametrize("resumed_at, catch_up, ended", [(None, False, [310]), (130, False, [180]), (130, True, [150])])
@pytest.mark.parametrize("name", ["a", None], ids=["instance", "template"])
async def test_occurrences_during_a_pause_cancel_nothing(
    bench: Bench, name: str | None, resumed_at: int | None, catch_up: bool, ended: list[float]
) -> None:
    """An execution in progress ends as usual, because nothing takes its place. An occurrence after the pause, or one
    that counts as missed, supersedes it as soon as its worker knows."""
    app, over = bench.app(), list[float]()

    async def body(context: Context) -> None:
        bench.log.begin(context)
        try:
            await bench.clock.sleep(250)
        finally:
            over.append((bench.clock.time - START).total_seconds())

    policies: dict[str, Any] = {"overlap": Overlap.CANCEL, "lease_duration": duration(90)}
    task = app.dynamic_task(name="task", **policies)(body)
    async with bench.running(app), app.create() as operator:
        await operator.schedule_task(task, "a", interval=duration(60))
        await bench.advance_to(70)
        await operator.pause_task(task, name)
        if resumed_at is not None:
            await bench.advance_to(resumed_at)
            await operator.resume_task(task, name, catch_up=catch_up)
        await bench.advance_to(ended[0] + 5)
        assert over == ended


@pytest.mark.parametrize("name", ["a", None], ids=["instance", "template"])
async def test_occurrences_during_a_pause_do_not_supersede_a_retry(bench: Bench, name: str | None) -> None:
    app = bench.app()
    policies: dict[str, Any] = {"overlap": Overlap.CANCEL, "retry": Retry(2, delay=duration(30), jitter=0)}
    task = app.dynamic_task(name="task", **policies)(bench.log.failing(1))
    async with bench.running(app) as worker, app.create() as operator:
        await operator.schedule_task(task, "a", interval=duration(60))
        await bench.advance_to(70)
        await operator.pause_task(task, name)
        await bench.advance_to(130)
        await operator.resume_task(task, name)
        await bench.advance_to(181)
        assert await totals(worker.context, task) == {"succeeded": 2, "paused": 1}
    assert bench.log.at() == [60, 131, 180]  # workers notice within a poll interval


@pytest.mark.parametrize(
    "policies, executed, counted",
    [
        ({}, [10, 20, 60, 70], {"succeeded": 4, "paused": 3}),
        ({"catch_up": CatchUp.LATEST}, [70], {"succeeded": 1, "paused": 3, "coalesced": 3}),
        ({"catch_up": CatchUp.EARLIEST}, [10], {"succeeded": 1, "paused": 3, "coalesced": 3}),
        ({"max_lateness": duration(44)}, [60, 70], {"succeeded": 2, "paused": 3, "late": 2}),
    ],
    ids=["all", "latest", "earliest", "late"],
)
@pytest.mark.parametrize("mode", ExecutionMode, ids=lambda mode: mode.name)
async def test_a_backlog_with_a_pause_of_the_template_in_it(
    bench: Bench, mode: ExecutionMode, policies: dict[str, Any], executed: list[float], counted: dict[str, int]
) -> None:
    """What came due during the pause is skipped first; policies choose from the rest."""
    app = bench.app()
    task = app.dynamic_task(name="task", execution_mode=mode, **policies)(bench.log.note)
    async with app.create() as context:
        await context.schedule_task(task, "a", interval=TEN)
        await bench.advance_to(25)
        await context.pause_task(task)
        await bench.advance_to(55)
        await context.resume_task(task)
        await bench.advance_to(74)
    async with bench.running(app) as worker:
        await bench.advance_to(75)
        assert await totals(worker.context, task) == counted
    assert bench.log.due() == executed


async def test_the_latest_in_a_pause_of_the_template_is_not_executed(bench: Bench) -> None:
    app = bench.app()
    task = app.dynamic_task(name="task", catch_up=CatchUp.LATEST)(bench.log.note)
    async with app.create() as context:
        await context.schedule_task(task, "a", interval=TEN)
        await bench.advance_to(25)
        await context.pause_task(task)
        await bench.advance_to(55)
        await context.resume_task(task)
    async with bench.running(app) as worker:
        await bench.advance_to(59)
        assert await totals(worker.context, task) == {"succeeded": 1, "paused": 3, "coalesced": 1}
    assert bench.log.due() == [20]


@pytest.mark.parametrize(
    "policies, executed, counted",
    [
        ({"overlap": Overlap.SKIP}, [10, 80], {"succeeded": 1, "overlap": 3, "paused": 3}),
        ({"catch_up": CatchUp.EARLIEST}, [10, 80], {"succeeded": 1, "coalesced": 3, "paused": 3}),
    ],
    ids=["overlap", "earliest"],
)
async def test_an_execution_that_outlasts_a_pause_of_the_template(
    bench: Bench, policies: dict[str, Any], executed: list[float], counted: dict[str, int]
) -> None:
    """What came due during the pause is skipped as paused, the rest for the policies' reason."""
    app = bench.app()
    task = app.dynamic_task(name="task", **policies)(bench.log.lasting(65))
    async with bench.running(app) as worker:
        await worker.context.schedule_task(task, "a", interval=TEN)
        await bench.advance_to(25)
        await worker.context.pause_task(task)
        await bench.advance_to(55)
        await worker.context.resume_task(task)
        await bench.advance_to(79)
        assert await totals(worker.context, task) == counted
        await bench.advance_to(81)
    assert bench.log.due() == executed


@pytest.mark.parametrize(
    "pauses, at",
    [
        ([], 120),
        ([(120, 180)], 180),
        ([(121, 180)], 120),
        ([(120, 181)], 240),
        ([(100, 120)], 120),
        ([(110, 130), (170, 190)], 240),
        ([(100, HELD)], None),
        ([(180, HELD)], 120),
    ],
)
def test_when_a_run_is_superseded(pauses: list[tuple[int, int]], at: int | None) -> None:
    """By the first occurrence that came due while the template was not paused."""
    spec = Spec(Interval(60))
    record = Record("t", "t:a", 60, 90, 90, "w", "r", 60, 1, encode(spec))
    assert superseded_at(record, spec, Policies(overlap=Overlap.CANCEL), 60, 60, pauses) == at
