"""The loop: what each pass queries and claims, and how it handles executors, outages and shutdown."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from typing import Any, Self

import anyio
import pytest

from pyncette import Context, Pyncette
from pyncette._tasks.worker import WORKERS
from pyncette.events import TickFinished
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer
from pyncette.record import Change, Queue
from pyncette.repository import Repository
from pyncette.testing import Call, FaultPlan, FaultyRepository, ManualClock, delay, fail
from tests.running import running

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)


class Ticks(Observer):
    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []

    def tick_finished(self, event: TickFinished, /) -> None:
        self.errors.append(event.error)


class Harness:
    """A storage and a clock for any number of apps."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.plan = FaultPlan()
        self.memory = MemoryRepository()
        self.repository = FaultyRepository(self.memory, self.plan)
        self.ticks = Ticks()
        self.runs: list[tuple[str, datetime.datetime]] = []

    def app(self, **options: Any) -> Pyncette:
        def factory() -> AbstractAsyncContextManager[Repository]:
            return nullcontext(self.repository)

        given = {"repository_factory": factory, "clock": self.clock, "register_worker": False, **options}
        app = Pyncette(**given)
        app.use_observer(self.ticks)
        return app

    async def body(self, context: Context) -> None:
        self.runs.append((context.task.name, self.clock.time))

    async def empty(self) -> None:
        """Remove everything from the storage."""
        for name in [*await self.memory.queues(after=None, limit=1000), WORKERS.name]:
            for queue in (Queue(name), Queue(name, static=True)):
                records = await self.memory.scan(queue, after=None, limit=1000)
                await self.memory.swap([Change(record, None) for record in records])


@pytest.fixture
def harness() -> Harness:
    return Harness()


async def test_the_last_tick_is_when_a_pass_began(harness: Harness) -> None:
    app = harness.app()
    app.task(name="task", interval=SECOND)(harness.body)
    async with running(app) as context:
        await harness.clock.advance(10 * SECOND)
        assert context.last_tick == harness.clock.time
        harness.plan.always(fail())
        await harness.clock.advance(10 * SECOND)
        assert context.last_tick == harness.clock.time - 10 * SECOND


class Refusing:
    """An executor that can't start the first execution."""

    concurrency_limit = 1

    def __init__(self) -> None:
        self.refusals = 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    async def spawn_task(self, task: Awaitable[None]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("no thread")
        await task


async def test_an_executor_that_fails(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """Its slot becomes free, and the occurrence is retried when its lease expires."""
    app = harness.app(executor_cls=Refusing)
    start = harness.clock.time
    one = app.dynamic_task(name="one", lease_duration=MINUTE)(harness.body)
    other = app.dynamic_task(name="other")(harness.body)
    async with running(app) as context:
        await context.schedule_task(one, "a", execute_at=start)
        await harness.clock.advance(5 * SECOND)
        await context.schedule_task(other, "b", execute_at=harness.clock.time)
        await harness.clock.advance(SECOND)
        assert harness.runs == [("b", start + 5 * SECOND)]
        await harness.clock.advance(2 * MINUTE)
    assert harness.runs[1:] == [("a", start + MINUTE)]
    logged = [one for one in caplog.records if one.name == "pyncette._loop.poller"]
    assert [one.getMessage() for one in logged] == [
        f"The executor failed to start {one.instantiate('a', execute_at=start)}; it is retried when its lease expires."
    ]
    assert logged[0].exc_info is not None
    assert not any(harness.ticks.errors)


async def test_the_error_of_a_failed_pass_is_logged(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "pyncette._loop.poller"):
        app = harness.app()
        app.task(name="task", interval=SECOND)(harness.body)
        async with running(app):
            await harness.clock.advance(SECOND)
            harness.plan.script("claim", fail())
            await harness.clock.advance(2 * SECOND)
    [logged] = [one for one in caplog.records if one.name == "pyncette._loop.poller"]
    assert logged.getMessage() == "A tick failed."
    assert logged.exc_info is not None
    assert harness.ticks.errors.count(None) == len(harness.ticks.errors) - 1


async def test_a_shutdown_waits_for_a_claim_in_progress(harness: Harness) -> None:
    """An interrupted claim would leave leases behind."""
    app = harness.app()
    app.task(name="task", interval=SECOND)(harness.body)
    async with running(app) as context:
        await harness.clock.advance(SECOND)
        harness.plan.script("claim", delay(before=0.4))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(harness.clock.advance, SECOND)
            await anyio.sleep(0.1)
            context.shutdown()
    assert not any(harness.ticks.errors)
    assert len(harness.runs) == 2


async def test_a_shutdown_before_the_loop_has_begun(harness: Harness) -> None:
    async with harness.app().create() as context:
        context.shutdown()
        with anyio.fail_after(10):
            await context.run()
    assert harness.plan.calls["look"] == 0


async def test_nothing_is_claimed_while_writes_are_overdue(harness: Harness) -> None:
    """Leases could not be renewed. The storage is queried to find out whether it answers."""
    app = harness.app()
    template = app.dynamic_task(name="task", lease_duration=MINUTE)(harness.body)
    async with running(app) as context:
        start = harness.clock.time
        names = [(str(number), {"execute_at": start + number * SECOND}) for number in range(1, 20)]
        await context.schedule_tasks(template, names)
        harness.plan.always(fail(), "swap")
        await harness.clock.advance(5 * SECOND)
        claims, looks = harness.plan.calls["claim"], harness.plan.calls["look"]
        await harness.clock.advance(5 * SECOND)
        assert harness.plan.calls["claim"] == claims
        assert harness.plan.calls["look"] >= looks + 4
        harness.plan.clear()
        await harness.clock.advance(12 * SECOND)
    assert sorted(int(name) for name, _ in harness.runs) == list(range(1, 20))


async def test_the_next_moment_is_usually_known(harness: Harness) -> None:
    """One query per poll interval, whatever is executed."""
    app = harness.app(poll_interval=MINUTE)
    template = app.dynamic_task(name="task")(harness.body)
    async with running(app) as context:
        start = harness.clock.time
        names = [(str(number), {"execute_at": start + number * SECOND}) for number in range(1, 100)]
        await context.schedule_tasks(template, names)
        await harness.clock.advance(SECOND)
        harness.plan.calls.clear()
        await harness.clock.advance(90 * SECOND)
        assert len(harness.runs) == 91
        assert all(at == start + int(name) * SECOND for name, at in harness.runs)
        looks = harness.plan.calls["look"]
    assert looks <= 93


async def test_a_busy_worker_still_queries_what_others_store(harness: Harness) -> None:
    """Within the poll interval, whenever it was stored."""
    worker, other = harness.app(), harness.app()
    worker.task(name="often", interval=datetime.timedelta(milliseconds=900))(harness.body)
    worker.dynamic_task(name="t")(harness.body)
    template = other.dynamic_task(name="t")(harness.body)
    stored: dict[str, datetime.datetime] = {}
    async with running(worker), other.create() as elsewhere:
        for number in range(60):
            await harness.clock.advance(datetime.timedelta(milliseconds=370))
            stored[str(number)] = at = harness.clock.time
            await elsewhere.schedule_task(template, str(number), execute_at=at)
        await harness.clock.advance(5 * SECOND)
    lags = [at - stored[name] for name, at in harness.runs if name in stored]
    assert len(lags) == 60
    assert max(lags) <= SECOND


async def test_storing_something_does_not_delay_the_next_query(harness: Harness) -> None:
    """A claim of something known in advance doesn't postpone the query."""
    worker, other = harness.app(poll_interval=MINUTE), harness.app()
    own, others = (app.dynamic_task(name="t")(harness.body) for app in (worker, other))
    async with running(worker) as context, other.create() as elsewhere:
        await harness.clock.advance(SECOND)
        start = harness.clock.time
        await context.schedule_task(own, "known", execute_at=start + 50 * SECOND)
        await harness.clock.advance(55 * SECOND)
        assert [name for name, _ in harness.runs] == ["known"]
        await elsewhere.schedule_task(others, "unknown", execute_at=harness.clock.time)
        await harness.clock.advance(MINUTE)
    lags = [at - start for name, at in harness.runs if name == "unknown"]
    assert len(lags) == 1
    assert lags[0] <= MINUTE


async def test_what_comes_due_during_a_claim_is_claimed_without_a_query(harness: Harness) -> None:
    app = harness.app(poll_interval=MINUTE)
    template = app.dynamic_task(name="task")(harness.body)
    async with running(app) as context:
        await harness.clock.advance(SECOND)

        async def joined(call: Call) -> Any:
            claimed = await call()
            await context.schedule_task(template, "second", execute_at=harness.clock.time)
            return claimed

        harness.plan.script("claim", joined)
        await context.schedule_task(template, "first", execute_at=harness.clock.time + SECOND)
        harness.plan.calls.clear()
        await harness.clock.advance(2 * SECOND)
        assert [name for name, _ in harness.runs] == ["first", "second"]
        assert (harness.plan.calls["claim"], harness.plan.calls["look"]) == (2, 0)


async def test_a_crowd_is_claimed_by_concurrent_claims(harness: Harness) -> None:
    """No time passes until all of it has been executed."""
    under_way: list[int] = []
    now = 0

    async def counted(call: Call) -> Any:
        nonlocal now
        now += 1
        under_way.append(now)
        await anyio.lowlevel.checkpoint()
        try:
            return await call()
        finally:
            now -= 1

    app = harness.app(batch_size=10, concurrency_limit=200)
    template = app.dynamic_task(name="task")(harness.body)
    start = harness.clock.time
    async with app.create() as context:
        await context.schedule_tasks(template, ((str(n), {"execute_at": start}) for n in range(500)))
        harness.plan.always(counted, "claim")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(context.run)
            await harness.clock.settle()
            assert len(harness.runs) == 500
            context.shutdown()
    assert {at for _, at in harness.runs} == {start}
    assert max(under_way) >= 4
    assert not any(harness.ticks.errors)


async def test_waiting_for_a_slot_is_not_an_error(harness: Harness) -> None:
    app = harness.app(concurrency_limit=1)

    async def slow(context: Context) -> None:
        await harness.clock.sleep(0.3)
        await harness.body(context)

    template = app.dynamic_task(name="task")(slow)
    start = harness.clock.time
    async with running(app) as context:
        await context.schedule_tasks(template, ((str(n), {"execute_at": start}) for n in range(5)))
        await harness.clock.advance(5 * SECOND)
    assert [at - start for _, at in harness.runs] == [datetime.timedelta(milliseconds=300 * n) for n in range(1, 6)]
    assert not any(harness.ticks.errors)


@pytest.mark.parametrize("outage", [False, True])
async def test_a_storage_that_has_come_back_empty(harness: Harness, outage: bool) -> None:
    """Static tasks are restored: immediately after an outage, otherwise when the worker misses its own record."""
    app = harness.app(register_worker=not outage)
    app.task(name="static", interval=10 * SECOND)(harness.body)
    async with running(app):
        await harness.clock.advance(25 * SECOND)
        assert len(harness.runs) == 2
        if outage:
            harness.plan.always(fail())
            await harness.clock.advance(5 * SECOND)
        await harness.empty()
        harness.plan.clear()
        harness.runs.clear()
        for _ in range(3):  # let background work proceed
            await harness.clock.advance(20 * SECOND)
    assert len(harness.runs) >= 2


@pytest.mark.parametrize("workers", [1, 2])
async def test_several_workers_claim_in_turns(harness: Harness, workers: int) -> None:
    """What comes due within a turn is claimed together; a single worker claims each occurrence when it comes due."""
    apps = [harness.app(register_worker=True, worker_name=f"{number}") for number in range(workers)]
    templates = [app.dynamic_task(name="task")(harness.body) for app in apps]
    async with AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(running(app)) for app in apps]
        await harness.clock.advance(MINUTE)
        start, step = harness.clock.time + SECOND, datetime.timedelta(milliseconds=1)
        await contexts[0].schedule_tasks(templates[0], ((str(n), {"execute_at": start + n * step}) for n in range(300)))
        harness.plan.calls.clear()
        await harness.clock.advance(3 * SECOND)
        claims = harness.plan.calls["claim"]
    assert len(harness.runs) == 300
    assert claims >= 300 if workers == 1 else claims <= 60
    assert max(at - start - int(name) * step for name, at in harness.runs) <= 30 * step


async def test_a_crowd_does_not_wait_for_turns(harness: Harness) -> None:
    """The worker that has left something claims that, too: no time passes until everything has been executed."""
    apps = [harness.app(register_worker=True, worker_name=name, batch_size=10) for name in ("one", "two")]
    templates = [app.dynamic_task(name="task")(harness.body) for app in apps]
    async with running(apps[0]) as context, running(apps[1]):
        await harness.clock.advance(MINUTE)
        start = harness.clock.time + 5 * SECOND
        await context.schedule_tasks(templates[0], ((str(n), {"execute_at": start}) for n in range(300)))
        await harness.clock.advance(10 * SECOND)
    assert len(harness.runs) == 300
    assert {at for _, at in harness.runs} == {start}
