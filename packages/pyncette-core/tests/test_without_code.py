"""Programs that control tasks without having their code, and thus their policies."""

from __future__ import annotations

import datetime
from contextlib import nullcontext

import anyio
import pytest

from pyncette import ExecutionMode, Policies, Task, lease
from pyncette._lifecycle.begin import Execute, Settle, begin
from pyncette._lifecycle.end import end
from pyncette._tasks.spec import Spec, encode
from pyncette.errors import RepositoryUnavailableException
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Record
from pyncette.schedule import Interval
from pyncette.testing import FaultPlan
from pyncette.testing.contract.app.bench import Bench, duration, moment
from pyncette.testing.contract.base import APPLIED, NOW, SECOND, fresh
from pyncette.testing.faults import Call

NAMES = [f"{number}" for number in range(10)]


@pytest.fixture
def bench() -> Bench:
    repository = MemoryRepository()
    return Bench(lambda **_: nullcontext(repository), repository)


def offsets(bench: Bench, task: Task) -> dict[str, set[float]]:
    """How long after its moment each instance began."""
    return {
        name: {round(run.at - run.due, 3) for run in bench.log.of(f"{task.name}:{name}")} for name in [*NAMES, "new"]
    }


async def test_instances_begin_with_the_workers_jitter(bench: Bench) -> None:
    app = bench.app()
    task = app.dynamic_task(name="task", jitter=duration(30))(bench.log.note)
    async with bench.running(app) as worker, bench.app().create() as operator:
        await worker.context.schedule_tasks(task, [(name, {"interval": duration(60)}) for name in NAMES])
        await bench.advance_to(100)
        found = await operator.find_task("task")
        await operator.pause_tasks(found, NAMES)
        await bench.advance_to(200)
        await operator.resume_tasks(found, NAMES[:5])
        await operator.resume_tasks(found, NAMES[5:], catch_up=True)
        await operator.schedule_task(found, "new", interval=duration(60))
        late = offsets(bench, task)
        await bench.advance_to(400)
    after = offsets(bench, task)
    for name in NAMES[:5]:
        assert len(late[name]) == 1
        assert after[name] == late[name], "each occurrence begins as much later as those before the pause"
    assert bench.log.due("task:5")[:3] == [60, 120, 180], "what was missed is executed"
    assert {run.due for run in bench.log.of("task:new")} == {260, 320, 380}
    assert len(after["new"]) == 1
    assert after["new"] != {0}


@pytest.mark.parametrize("keep", [0, 1, 5])
async def test_recent_runs_stay(bench: Bench, keep: int) -> None:
    app = bench.app()
    task = app.dynamic_task(name="task", keep_runs=keep)(bench.log.note)
    async with bench.running(app) as worker, bench.app().create() as operator:
        await worker.context.schedule_task(task, "a", interval=duration(10))
        await bench.advance_to(45)
        found = await operator.find_task("task")
        for _ in range(2):
            await operator.pause_task(found, "a")
            await bench.advance(20)
            await operator.resume_task(found, "a")
        state = await operator.get_task(found, "a")
        assert state is not None
        outcomes = [run.outcome for run in state.runs]
        assert outcomes == ["succeeded"] * min(keep, 4) + ["skipped"] * 2
        assert state.totals == {"succeeded": 4, "paused": 4}
        await bench.advance(10)
        state = await worker.context.get_task(task, "a")
        assert state is not None
        assert [run.outcome for run in state.runs] == [*outcomes, "succeeded"][-keep:] if keep else not state.runs


async def test_an_instance_that_may_have_run_is_not_rescheduled(bench: Bench) -> None:
    """The storage doesn't confirm the scheduling, and the instance is gone when it is read again."""
    plan = FaultPlan()
    app = bench.app()
    task = app.dynamic_task(name="task", execution_mode=ExecutionMode.AT_MOST_ONCE)(bench.log.note)
    steering = bench.app(repository_factory=plan.wrap(bench.factory))
    async with app.create() as context, steering.create() as operator:
        await context.schedule_task(task, "other", execute_at=moment(1000))
        found = await operator.find_task("task")

        async def executed_meanwhile(call: Call) -> None:
            await call()
            (change,) = call.changes
            assert await bench.repository.swap([Change(change.new, None)]) == [APPLIED]
            raise RepositoryUnavailableException("The reply is lost, says the test.")

        plan.script("swap", executed_meanwhile)
        async with anyio.create_task_group() as group:
            group.start_soon(bench.advance, 5)
            with pytest.raises(RepositoryUnavailableException, match="may be at most once"):
                await operator.schedule_task(found, "a", execute_at=moment(0))
        assert await context.get_task(task, "a") is None


@pytest.mark.parametrize("attempt, ready_later, early", [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_an_occurrence_that_was_stored_without_its_jitter(attempt: int, ready_later: int, early: bool) -> None:
    """It begins at its jittered time, except for a retry, or if it was stored with jitter."""
    policies = Policies(jitter=duration(59), lease_duration=duration(60))
    spec, due_at = Spec(Interval(60 * SECOND)), NOW - 5
    before = Record("task", "task:a", due_at, due_at + ready_later, None, None, "r", 5, attempt, encode(spec))
    record = lease.claim(before, now=NOW, locked_until=NOW + 60 * SECOND, token="t", holder="host:1:t")
    decision = begin(policies, spec, record, before, claimed_at=NOW, now=NOW)
    if not early:
        assert isinstance(decision, Execute)
        return
    assert isinstance(decision, Settle)
    change = end(record, spec, policies, decision.attempt, now=NOW, retry_delay=0, revision=fresh()).change
    assert change is not None
    assert change.new is not None
    assert (change.new.due_at, change.new.attempt, change.new.locked_until) == (before.due_at, 0, None)
    assert NOW < change.new.ready_at < before.due_at + 59 * SECOND


async def test_the_schedule_of_a_static_task_is_the_stored_one(bench: Bench) -> None:
    """Whether the program declares no schedule or, as in a rolling deploy, a different one."""
    app, newer = bench.app(), bench.app()
    app.task(name="task", schedule="30 2 * * *", timezone="Europe/Berlin", max_runs=9)(bench.log.note)
    other = newer.task(name="task", interval=duration(60))(bench.log.note)
    async with bench.running(app), bench.app().create() as operator, newer.create() as deploying:
        for context, task in ((operator, await operator.find_task("task")), (deploying, other)):
            state = await context.get_task(task)
            assert state is not None
            stored = state.task
            assert (stored.schedule, stored.timezone, stored.interval) == ("30 2 * * *", "Europe/Berlin", None)
            assert (stored.max_runs, stored.name, stored.ref) == (9, "task", task.ref)
            assert next(stored.upcoming(state.scheduled_at)) - state.scheduled_at == datetime.timedelta(days=1)
            assert (await context.get_task(stored)) is not None
