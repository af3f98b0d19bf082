"""The loop: when it wakes, what it queries, and what it does when that fails."""

from __future__ import annotations

import datetime
import logging
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Self

import anyio
import pytest

from pyncette import Context, Pyncette
from pyncette.events import Claimed, TickFinished, TickStarted
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from pyncette.repository import Repository
from pyncette.testing import Call, FaultPlan, FaultyRepository, ManualClock, fail
from tests.running import running

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)


class Harness:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.plan = FaultPlan()
        self.repository = FaultyRepository(MemoryRepository(), self.plan)

    def app(self, **options: Any) -> Pyncette:
        def factory() -> AbstractAsyncContextManager[Repository]:
            return nullcontext(self.repository)

        return Pyncette(**{"repository_factory": factory, "clock": self.clock, "register_worker": False, **options})

    async def look(self, times: int = 1) -> None:
        """Let the poll interval pass, one look at a time."""
        for _ in range(times):
            await self.clock.advance(SECOND)


@pytest.fixture
def harness() -> Harness:
    return Harness()


async def _body(context: Context) -> None: ...


async def test_an_idle_loop_asks_once_per_poll_interval(harness: Harness) -> None:
    app = harness.app()
    for i in range(500):
        app.task(name=f"static{i}", schedule="0 0 1 1 *")(_body)
    template = app.dynamic_task()(_body)
    async with running(app) as context:
        await context.schedule_tasks(template, ((str(i), {"interval": 1000 * MINUTE}) for i in range(2000)))
        await harness.look(2)
        harness.plan.calls.clear()
        await harness.look(60)
        assert harness.plan.calls["look"] == 60
        assert harness.plan.calls["clock"] <= 2
        assert set(harness.plan.calls) <= {"look", "clock"}


async def test_an_idle_worker_writes_four_times_a_minute(harness: Harness) -> None:
    async with running(harness.app(register_worker=True)):
        await harness.look(2)
        harness.plan.calls.clear()
        for _ in range(12):
            await harness.clock.advance(5 * SECOND)
    assert 3 <= harness.plan.calls["swap"] <= 5, "one more at a border"
    assert harness.plan.calls["scan_ready"] <= 6, "each time to see who is there, and once for those that have died"


async def test_it_wakes_when_something_is_due_whatever_the_poll_interval(harness: Harness) -> None:
    app = harness.app(poll_interval=10 * MINUTE)
    lags: list[datetime.timedelta] = []

    async def body(context: Context) -> None:
        lags.append(harness.clock.time - context.scheduled_at)

    app.task(interval=7 * SECOND)(body)
    template = app.dynamic_task(name="later")(body)
    async with running(app) as context:
        await harness.clock.advance(MINUTE)
        assert lags == [datetime.timedelta()] * 8
        await context.schedule_task(template, "x", execute_at=harness.clock.time + SECOND)
        await harness.clock.advance(SECOND)
        assert lags == [datetime.timedelta()] * 9


async def test_another_process_schedules_something(harness: Harness) -> None:
    runs: list[datetime.datetime] = []

    async def body(context: Context) -> None:
        runs.append(harness.clock.time)

    worker, other = harness.app(), harness.app()
    worker.dynamic_task(name="t")(body)
    template = other.dynamic_task(name="t")(body)
    async with running(worker), other.create() as elsewhere:
        await harness.clock.advance(MINUTE)
        at = harness.clock.time
        await elsewhere.schedule_task(template, "x", execute_at=at)
        await harness.clock.advance(MINUTE)
    [ran] = runs
    assert ran - at <= SECOND


async def test_what_is_stored_during_a_look_is_seen_at_the_next(harness: Harness) -> None:
    """The clock skips looks that can't find anything. This look would have found it a moment later."""
    lags: list[datetime.timedelta] = []

    async def body(context: Context) -> None:
        lags.append(harness.clock.time - context.scheduled_at)

    other = Pyncette(lambda: nullcontext(harness.repository), clock=harness.clock)
    template = other.dynamic_task(name="t")(body)
    worker = harness.app()
    worker.dynamic_task(name="t")(body)
    async with running(worker), other.create() as elsewhere:
        await harness.look(2)

        async def too_early(call: Call) -> Any:
            answer = await call()
            await elsewhere.schedule_task(template, "x", execute_at=harness.clock.time + SECOND)
            return answer

        harness.plan.script("look", too_early)
        await harness.look()
        await harness.clock.advance(100 * SECOND)
    [lag] = lags
    assert lag <= SECOND


async def test_a_full_executor_does_not_spin(harness: Harness) -> None:
    app = harness.app(concurrency_limit=1)
    go = anyio.Event()

    @app.dynamic_task(lease_duration=60 * MINUTE)
    async def work(context: Context) -> None:
        await go.wait()

    async with running(app) as context:
        for i in range(3):
            await context.schedule_task(work, str(i), execute_at=harness.clock.time)
        await harness.look()
        harness.plan.calls.clear()
        await harness.look(30)
        assert harness.plan.calls["claim"] == harness.plan.calls["look"] == 0
        go.set()
        await harness.clock.settle()
        assert (await context.list_tasks(work)).tasks == []


async def test_a_slot_that_comes_free_is_used_at_once(harness: Harness) -> None:
    app = harness.app(concurrency_limit=1)
    ends: list[datetime.datetime] = []

    @app.dynamic_task(lease_duration=60 * MINUTE)
    async def work(context: Context) -> None:
        await harness.clock.sleep(0.1)
        ends.append(harness.clock.time)

    async with running(app) as context:
        start = harness.clock.time
        for i in range(5):
            await context.schedule_task(work, str(i), execute_at=start)
        await harness.clock.advance(MINUTE)
    assert [end - start for end in ends] == [datetime.timedelta(milliseconds=100 * i) for i in range(1, 6)]


async def test_an_outage_is_logged_once_and_survived(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    app, runs = harness.app(), list[datetime.datetime]()

    @app.task(interval=10 * SECOND)
    async def task(context: Context) -> None:
        runs.append(context.scheduled_at)

    start = harness.clock.time
    with caplog.at_level(logging.INFO, "pyncette"):
        async with running(app):
            await harness.look(11)
            harness.plan.always(fail())
            await harness.look(45)
            assert len(runs) == 1
            harness.plan.clear()
            await harness.look(5)
    assert runs == [start + 10 * i * SECOND for i in range(1, 7)]
    begins = [r for r in caplog.records if "The storage failed" in r.getMessage()]
    ends = [r for r in caplog.records if "works again" in r.getMessage()]
    assert (len(begins), len(ends)) == (1, 1)


async def test_an_outage_at_the_start_is_waited_out(harness: Harness) -> None:
    app, runs = harness.app(), list[datetime.datetime]()

    @app.task(interval=10 * SECOND)
    async def task(context: Context) -> None:
        runs.append(context.scheduled_at)

    harness.plan.always(fail())
    async with running(app) as context:
        await harness.look(5)
        assert context.last_tick is None
        harness.plan.clear()
        await harness.look(20)
    assert runs


async def test_a_shutdown_during_an_outage_ends(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    app = harness.app()
    app.task(interval=10 * SECOND)(_body)
    harness.plan.always(fail())
    async with running(app):
        await harness.look(5)


@pytest.mark.parametrize("others", [1, 3])
async def test_a_million_overdue_instances_do_not_delay_others(harness: Harness, others: int) -> None:
    """A thousand represent them: ten times as many as can run."""
    app = harness.app()
    order: list[str] = []

    async def body(context: Context) -> None:
        order.append(context.task.template.name)
        await harness.clock.sleep(60)

    crowd = app.dynamic_task(name="crowd", lease_duration=60 * MINUTE)(body)
    rest = [app.dynamic_task(name=f"other{i}", lease_duration=60 * MINUTE)(body) for i in range(others)]
    async with app.create() as context:
        long_ago = harness.clock.time - 60 * MINUTE
        await context.schedule_tasks(crowd, ((str(i), {"execute_at": long_ago}) for i in range(1000)))
        for other in rest:
            await context.schedule_task(other, "x", execute_at=harness.clock.time)
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await harness.clock.advance(SECOND)
            assert len(order) == 100
            assert {other.name for other in rest} < set(order)
            group.cancel_scope.cancel()


async def test_two_crowds_share_the_slots(harness: Harness) -> None:
    app = harness.app()
    order: list[str] = []

    async def body(context: Context) -> None:
        order.append(context.task.template.name)
        await harness.clock.sleep(60)

    crowds = [app.dynamic_task(name=name, lease_duration=60 * MINUTE)(body) for name in "ab"]
    async with app.create() as context:
        for crowd in crowds:
            await context.schedule_tasks(crowd, ((str(i), {"execute_at": harness.clock.time}) for i in range(500)))
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await harness.clock.advance(5 * MINUTE)
            group.cancel_scope.cancel()
    # It is random who gets the rest of a claim; without shares, one crowd would come first.
    assert 0.25 < order.count("a") / len(order) < 0.75


class Claims(Observer):
    def __init__(self) -> None:
        self.counts: list[int] = []

    def claimed(self, event: Claimed, /) -> None:
        self.counts.append(event.count)


async def test_leased_occurrences_are_executed_even_if_the_next_claim_fails(harness: Harness) -> None:
    app, runs, claims = harness.app(), list[str](), Claims()
    app.use_observer(claims)

    async def body(context: Context) -> None:
        runs.append(context.task.name)

    crowd = app.dynamic_task(name="crowd")(body)
    other = app.dynamic_task(name="other")(body)
    async with app.create() as context:
        await context.schedule_tasks(crowd, ((str(i), {"execute_at": harness.clock.time}) for i in range(80)))
        await context.schedule_task(other, "one", execute_at=harness.clock.time)
        harness.plan.script("claim", None, fail())
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await harness.look(3)
            context.shutdown()
    assert len(runs) == 81
    assert harness.plan.calls["claim"] >= 3
    assert sum(claims.counts) == 81


async def test_what_waited_too_long_is_given_back(harness: Harness) -> None:
    """They are claimed together and executed one after the other: the last ones would start with an old lease."""
    app = harness.app(executor_cls=_OneByOne)
    runs: list[str] = []

    @app.dynamic_task(lease_duration=MINUTE)
    async def work(context: Context) -> None:
        runs.append(context.task.name)
        await harness.clock.sleep(40)

    async with running(app) as context:
        await context.schedule_tasks(work, ((str(i), {"execute_at": harness.clock.time}) for i in range(3)))
        await harness.clock.advance(10 * SECOND)
        states = (await context.list_tasks(work)).tasks
        assert [state.locked_until is not None for state in states] == [True] * 3
        await harness.clock.advance(5 * MINUTE)
    assert sorted(runs) == ["0", "1", "2"]


class _OneByOne:
    """Says that it can run three executions, but runs one after the other."""

    concurrency_limit = 3

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def spawn_task(self, task: object) -> None:
        await task  # type: ignore[misc]  # an awaitable; the protocol is not under test


class Ticks(Observer):
    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []

    def tick_finished(self, event: TickFinished, /) -> None:
        self.errors.append(event.error)


async def test_observers_are_notified_of_failed_ticks(harness: Harness) -> None:
    app, ticks = harness.app(), Ticks()
    app.use_observer(ticks)
    app.task(interval=MINUTE)(_body)
    async with running(app):
        await harness.look(3)
        harness.plan.always(fail())
        await harness.look(3)
        harness.plan.clear()
        await harness.look(3)
    assert ticks.errors[0] is None
    assert any(ticks.errors)
    assert ticks.errors[-1] is None


async def test_an_observer_that_raises_has_no_effect(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        def tick_started(self, event: TickStarted, /) -> None:
            raise ZeroDivisionError

    app, runs = harness.app(), list[str]()
    app.use_observer(Broken())

    @app.task(interval=SECOND)
    async def task(context: Context) -> None:
        runs.append(context.task.name)

    async with running(app):
        await harness.look(5)
    assert len(runs) == 5
    assert len([r for r in caplog.records if "observer" in r.getMessage()]) == 1
