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


class Scene:
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
def scene() -> Scene:
    return Scene()


async def test_the_last_tick_is_when_a_pass_began(scene: Scene) -> None:
    app = scene.app()
    app.task(name="task", interval=SECOND)(scene.body)
    async with running(app) as context:
        await scene.clock.advance(10 * SECOND)
        assert context.last_tick == scene.clock.time
        scene.plan.always(fail())
        await scene.clock.advance(10 * SECOND)
        assert context.last_tick == scene.clock.time - 10 * SECOND


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


async def test_an_executor_that_fails(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Its slot becomes free, and the occurrence is retried when its lease expires."""
    app = scene.app(executor_cls=Refusing)
    start = scene.clock.time
    one = app.dynamic_task(name="one", lease_duration=MINUTE)(scene.body)
    other = app.dynamic_task(name="other")(scene.body)
    async with running(app) as context:
        await context.schedule_task(one, "a", execute_at=start)
        await scene.clock.advance(5 * SECOND)
        await context.schedule_task(other, "b", execute_at=scene.clock.time)
        await scene.clock.advance(SECOND)
        assert scene.runs == [("b", start + 5 * SECOND)]
        await scene.clock.advance(2 * MINUTE)
    assert scene.runs[1:] == [("a", start + MINUTE)]
    logged = [one for one in caplog.records if one.name == "pyncette._loop.poller"]
    assert [one.getMessage() for one in logged] == [
        f"The executor failed to start {one.instantiate('a', execute_at=start)}; it is retried when its lease expires."
    ]
    assert logged[0].exc_info is not None
    assert not any(scene.ticks.errors)


async def test_the_error_of_a_failed_pass_is_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "pyncette._loop.poller"):
        app = scene.app()
        app.task(name="task", interval=SECOND)(scene.body)
        async with running(app):
            await scene.clock.advance(SECOND)
            scene.plan.script("claim", fail())
            await scene.clock.advance(2 * SECOND)
    [logged] = [one for one in caplog.records if one.name == "pyncette._loop.poller"]
    assert logged.getMessage() == "A tick failed."
    assert logged.exc_info is not None
    assert scene.ticks.errors.count(None) == len(scene.ticks.errors) - 1


async def test_a_shutdown_waits_for_a_claim_in_progress(scene: Scene) -> None:
    """An interrupted claim would leave leases behind."""
    app = scene.app()
    app.task(name="task", interval=SECOND)(scene.body)
    async with running(app) as context:
        await scene.clock.advance(SECOND)
        scene.plan.script("claim", delay(before=0.4))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.clock.advance, SECOND)
            await anyio.sleep(0.1)
            context.shutdown()
    assert not any(scene.ticks.errors)
    assert len(scene.runs) == 2


async def test_a_shutdown_before_the_loop_has_begun(scene: Scene) -> None:
    async with scene.app().create() as context:
        context.shutdown()
        with anyio.fail_after(10):
            await context.run()
    assert scene.plan.calls["look"] == 0


async def test_nothing_is_claimed_while_writes_are_overdue(scene: Scene) -> None:
    """Leases could not be renewed. The storage is queried to find out whether it answers."""
    app = scene.app()
    template = app.dynamic_task(name="task", lease_duration=MINUTE)(scene.body)
    async with running(app) as context:
        start = scene.clock.time
        names = [(str(number), {"execute_at": start + number * SECOND}) for number in range(1, 20)]
        await context.schedule_tasks(template, names)
        scene.plan.always(fail(), "swap")
        await scene.clock.advance(5 * SECOND)
        claims, looks = scene.plan.calls["claim"], scene.plan.calls["look"]
        await scene.clock.advance(5 * SECOND)
        assert scene.plan.calls["claim"] == claims
        assert scene.plan.calls["look"] >= looks + 4
        scene.plan.clear()
        await scene.clock.advance(12 * SECOND)
    assert sorted(int(name) for name, _ in scene.runs) == list(range(1, 20))


async def test_the_next_moment_is_usually_known(scene: Scene) -> None:
    """One query per poll interval, whatever is executed."""
    app = scene.app(poll_interval=MINUTE)
    template = app.dynamic_task(name="task")(scene.body)
    async with running(app) as context:
        start = scene.clock.time
        names = [(str(number), {"execute_at": start + number * SECOND}) for number in range(1, 100)]
        await context.schedule_tasks(template, names)
        await scene.clock.advance(SECOND)
        scene.plan.calls.clear()
        await scene.clock.advance(90 * SECOND)
        assert len(scene.runs) == 91
        assert all(at == start + int(name) * SECOND for name, at in scene.runs)
        looks = scene.plan.calls["look"]
    assert looks <= 93


async def test_a_busy_worker_still_queries_what_others_store(scene: Scene) -> None:
    """Within the poll interval, whenever it was stored."""
    worker, other = scene.app(), scene.app()
    worker.task(name="often", interval=datetime.timedelta(milliseconds=900))(scene.body)
    worker.dynamic_task(name="t")(scene.body)
    template = other.dynamic_task(name="t")(scene.body)
    stored: dict[str, datetime.datetime] = {}
    async with running(worker), other.create() as elsewhere:
        for number in range(60):
            await scene.clock.advance(datetime.timedelta(milliseconds=370))
            stored[str(number)] = at = scene.clock.time
            await elsewhere.schedule_task(template, str(number), execute_at=at)
        await scene.clock.advance(5 * SECOND)
    lags = [at - stored[name] for name, at in scene.runs if name in stored]
    assert len(lags) == 60
    assert max(lags) <= SECOND


async def test_storing_something_does_not_delay_the_next_query(scene: Scene) -> None:
    """A claim of something known in advance doesn't postpone the query."""
    worker, other = scene.app(poll_interval=MINUTE), scene.app()
    own, others = (app.dynamic_task(name="t")(scene.body) for app in (worker, other))
    async with running(worker) as context, other.create() as elsewhere:
        await scene.clock.advance(SECOND)
        start = scene.clock.time
        await context.schedule_task(own, "known", execute_at=start + 50 * SECOND)
        await scene.clock.advance(55 * SECOND)
        assert [name for name, _ in scene.runs] == ["known"]
        await elsewhere.schedule_task(others, "unknown", execute_at=scene.clock.time)
        await scene.clock.advance(MINUTE)
    lags = [at - start for name, at in scene.runs if name == "unknown"]
    assert len(lags) == 1
    assert lags[0] <= MINUTE


async def test_what_comes_due_during_a_claim_is_claimed_without_a_query(scene: Scene) -> None:
    app = scene.app(poll_interval=MINUTE)
    template = app.dynamic_task(name="task")(scene.body)
    async with running(app) as context:
        await scene.clock.advance(SECOND)

        async def joined(call: Call) -> Any:
            claimed = await call()
            await context.schedule_task(template, "second", execute_at=scene.clock.time)
            return claimed

        scene.plan.script("claim", joined)
        await context.schedule_task(template, "first", execute_at=scene.clock.time + SECOND)
        scene.plan.calls.clear()
        await scene.clock.advance(2 * SECOND)
        assert [name for name, _ in scene.runs] == ["first", "second"]
        assert (scene.plan.calls["claim"], scene.plan.calls["look"]) == (2, 0)


async def test_a_crowd_is_claimed_by_concurrent_claims(scene: Scene) -> None:
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

    app = scene.app(batch_size=10, concurrency_limit=200)
    template = app.dynamic_task(name="task")(scene.body)
    start = scene.clock.time
    async with app.create() as context:
        await context.schedule_tasks(template, ((str(n), {"execute_at": start}) for n in range(500)))
        scene.plan.always(counted, "claim")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(context.run)
            await scene.clock.settle()
            assert len(scene.runs) == 500
            context.shutdown()
    assert {at for _, at in scene.runs} == {start}
    assert max(under_way) >= 4
    assert not any(scene.ticks.errors)


async def test_waiting_for_a_slot_is_not_an_error(scene: Scene) -> None:
    app = scene.app(concurrency_limit=1)

    async def slow(context: Context) -> None:
        await scene.clock.sleep(0.3)
        await scene.body(context)

    template = app.dynamic_task(name="task")(slow)
    start = scene.clock.time
    async with running(app) as context:
        await context.schedule_tasks(template, ((str(n), {"execute_at": start}) for n in range(5)))
        await scene.clock.advance(5 * SECOND)
    assert [at - start for _, at in scene.runs] == [datetime.timedelta(milliseconds=300 * n) for n in range(1, 6)]
    assert not any(scene.ticks.errors)


@pytest.mark.parametrize("outage", [False, True])
async def test_a_storage_that_has_come_back_empty(scene: Scene, outage: bool) -> None:
    """Static tasks are restored: immediately after an outage, otherwise when the worker misses its own record."""
    app = scene.app(register_worker=not outage)
    app.task(name="static", interval=10 * SECOND)(scene.body)
    async with running(app):
        await scene.clock.advance(25 * SECOND)
        assert len(scene.runs) == 2
        if outage:
            scene.plan.always(fail())
            await scene.clock.advance(5 * SECOND)
        await scene.empty()
        scene.plan.clear()
        scene.runs.clear()
        for _ in range(3):  # let background work proceed
            await scene.clock.advance(20 * SECOND)
    assert len(scene.runs) >= 2


@pytest.mark.parametrize("workers", [1, 2])
async def test_several_workers_claim_in_turns(scene: Scene, workers: int) -> None:
    """What comes due within a turn is claimed together; a single worker claims each occurrence when it comes due."""
    apps = [scene.app(register_worker=True, worker_name=f"{number}") for number in range(workers)]
    templates = [app.dynamic_task(name="task")(scene.body) for app in apps]
    async with AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(running(app)) for app in apps]
        await scene.clock.advance(MINUTE)
        start, step = scene.clock.time + SECOND, datetime.timedelta(milliseconds=1)
        await contexts[0].schedule_tasks(templates[0], ((str(n), {"execute_at": start + n * step}) for n in range(300)))
        scene.plan.calls.clear()
        await scene.clock.advance(3 * SECOND)
        claims = scene.plan.calls["claim"]
    assert len(scene.runs) == 300
    assert claims >= 300 if workers == 1 else claims <= 60
    assert max(at - start - int(name) * step for name, at in scene.runs) <= 30 * step


async def test_a_crowd_does_not_wait_for_turns(scene: Scene) -> None:
    """The worker that has left something claims that, too: no time passes until everything has been executed."""
    apps = [scene.app(register_worker=True, worker_name=name, batch_size=10) for name in ("one", "two")]
    templates = [app.dynamic_task(name="task")(scene.body) for app in apps]
    async with running(apps[0]) as context, running(apps[1]):
        await scene.clock.advance(MINUTE)
        start = scene.clock.time + 5 * SECOND
        await context.schedule_tasks(templates[0], ((str(n), {"execute_at": start}) for n in range(300)))
        await scene.clock.advance(10 * SECOND)
    assert len(scene.runs) == 300
    assert {at for _, at in scene.runs} == {start}
