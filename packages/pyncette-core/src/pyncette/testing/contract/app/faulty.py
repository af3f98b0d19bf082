"""Storage that fails, loses replies or refuses: nothing runs twice that need not, and nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from pyncette import Context, ExecutionMode
from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.testing.faults import FaultPlan, Method, fail, lose_reply, refuse

from .bench import AppBase, Bench, duration, moment


class Attempt:
    """A call that runs while time passes."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        self._call = call
        self.error: Exception | None = None
        self.ended: bool = False

    async def run(self) -> None:
        try:
            await self._call()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        self.ended = True


async def attempt(bench: Bench, call: Callable[[], Awaitable[object]]) -> Exception | None:
    """The error of the call, if any. Lets time pass, because retries wait in virtual time."""
    made = Attempt(call)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.run)
        for _ in range(100):
            await bench.advance(0.1)
            if made.ended:
                break
        assert made.ended
    return made.error


class FaultContract(AppBase):
    @pytest.mark.parametrize("fault", [fail(), lose_reply()], ids=["failed", "reply lost"])
    async def test_a_settlement_that_fails(self, bench: Bench, fault: Callable[..., Awaitable[object]]) -> None:
        """It is retried until it is known to be stored: the occurrence is neither executed again nor skipped."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        template = app.dynamic_task(name="template")(bench.log.note)
        app.task(name="task", interval=duration(60))(bench.log.note)
        async with bench.running(app) as worker:
            await worker.context.schedule_task(template, "once", execute_at=moment(60))
            await bench.advance(59)
            plan.script("swap", fault, fault, fault)
            await bench.advance(300)
            assert await worker.context.get_task(template, "once") is None
        assert bench.log.due("task") == bench.log.at("task") == [60, 120, 180, 240, 300]
        assert bench.log.at("template:once") == [60]

    @pytest.mark.parametrize("method", ["claim", "next_ready", "read", "swap", "clock"])
    async def test_a_loop_over_failures(self, bench: Bench, method: Method) -> None:
        """The loop survives any failure, and executes what it missed as soon as it can."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        app.task(name="task", interval=duration(20))(bench.log.note)
        async with bench.running(app) as worker:
            for _ in range(4):
                await bench.advance(10)
                plan.script(method, fail(), fail())
                await bench.advance(10)
            plan.clear()
            await bench.advance(22)
            assert not worker.ended
        assert bench.log.due() == [20, 40, 60, 80, 100]
        assert all(run.at - run.due <= 5 for run in bench.log.runs)

    async def test_a_claim_whose_reply_is_lost(self, bench: Bench) -> None:
        """The occurrence is executed when the lease, which no worker knows about, has expired."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        app.task(name="task", interval=duration(60), lease_duration=duration(20))(bench.log.note)
        async with bench.running(app):
            await bench.advance(59)
            plan.script("claim", lose_reply())
            await bench.advance(61)
        assert (bench.log.due(), bench.log.at()) == ([60, 120], [80, 120])

    async def test_an_outage(self, bench: Bench) -> None:
        """While the storage is down executions continue; then they are settled, and what was missed runs."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        app.task(name="lasting", interval=duration(100), lease_duration=duration(90))(bench.log.lasting(30))
        app.task(name="task", interval=duration(20))(bench.log.note)
        async with bench.running(app):
            await bench.advance(110)
            plan.always(fail())
            await bench.advance(55)
            plan.clear()
            await bench.advance_to(199)
        assert bench.log.due("lasting") == bench.log.at("lasting") == [100]
        assert bench.log.ended == 1
        assert bench.log.due("task") == [20, 40, 60, 80, 100, 120, 140, 160, 180]
        assert all(165 <= run.at <= 168 for run in bench.log.of("task") if 110 < run.due <= 165)

    async def test_an_app_that_starts_without_its_storage(self, bench: Bench) -> None:
        """It waits for the storage, and stores its static tasks once it is available."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        task = app.task(name="task", interval=duration(60))(bench.log.note)
        plan.always(fail())
        async with bench.running(app) as worker:
            await bench.advance(30)
            assert not worker.ended
            plan.clear()
            await bench.advance(70)
        assert len(bench.log.runs) == 1
        assert 90 <= bench.log.due(task)[0] == bench.log.at(task)[0] <= 95

    async def test_at_most_once_with_a_lost_reply(self, bench: Bench) -> None:
        """If it turns out that the start was recorded, the occurrence is executed, once."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        options: dict[str, Any] = {"interval": duration(60), "execution_mode": ExecutionMode.AT_MOST_ONCE}
        app.task(name="task", **options)(bench.log.note)
        async with bench.running(app):
            await bench.advance(59)
            plan.script("swap", lose_reply())
            await bench.advance(121)
        assert bench.log.due() == [60, 120, 180]

    async def test_at_most_once_with_an_unknown_start(self, bench: Bench) -> None:
        """As long as it is unknown whether the start was recorded, the occurrence is not executed."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        options: dict[str, Any] = {"interval": duration(60), "execution_mode": ExecutionMode.AT_MOST_ONCE}
        app.task(name="task", **options)(bench.log.note)
        async with bench.running(app):
            await bench.advance(59)
            plan.script("swap", lose_reply())
            plan.always(fail(), "read")
            await bench.advance(30)
            plan.clear()
            await bench.advance(91)
        assert bench.log.due() == [120, 180]

    async def test_at_most_once_when_another_worker_was_faster(self, bench: Bench) -> None:
        """A worker that could not record the start, and then finds the one-off gone, doesn't conclude that it removed
        it: another worker has executed it.
        """
        plan = FaultPlan()
        hampered = bench.app(repository_factory=plan.wrap(bench.factory))
        healthy = bench.app(poll_interval=duration(0.01))
        options: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE, "lease_duration": duration(0.03)}
        templates = [app.dynamic_task(name="template", **options)(bench.log.note) for app in (hampered, healthy)]
        async with bench.running(hampered) as worker:
            await worker.context.schedule_task(templates[0], "a", execute_at=moment(10))
            await bench.advance(9)
            plan.script("swap", fail())
            plan.script("claim", None)
            plan.always(fail(), "claim")
            await bench.advance(1)
            assert bench.log.runs == []
            async with bench.running(healthy):
                await bench.advance(5)
        assert len(bench.log.runs) == 1

    async def test_at_most_once_never_runs_twice(self, bench: Bench) -> None:
        """Whatever fails, and however, an instance is executed no more than once."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        options: dict[str, Any] = {"execution_mode": ExecutionMode.AT_MOST_ONCE, "lease_duration": duration(10)}
        template = app.dynamic_task(name="template", **options)(bench.log.note)
        async with bench.running(app) as worker, bench.running(app):
            for number in range(30):
                await worker.context.schedule_task(template, f"{number}", execute_at=moment(1 + number / 2))
            for number in range(15):
                plan.script("swap", *[(fail(), lose_reply(), None)[number % 3]] * 2)
                plan.script("claim", (None, None, lose_reply())[number % 3])
                plan.script("read", (fail(), None)[number % 2])
                await bench.advance(1)
            plan.clear()
            await bench.advance(60)
            left = await bench.repository.scan(template.queue, after=None, limit=100)
        assert left == []
        assert len(set(bench.log.names())) == len(bench.log.names())
        assert len(bench.log.names()) >= 15

    async def test_scheduling_with_a_lost_reply(self, bench: Bench) -> None:
        """The call finds out that the instance was stored, and succeeds."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            context = worker.context
            plan.script("swap", lose_reply())
            assert await attempt(bench, lambda: context.schedule_task(template, "a", execute_at=moment(60))) is None
            assert await context.get_task(template, "a") is not None
            plan.script("swap", lose_reply())
            assert await attempt(bench, lambda: context.unschedule_task(template, "a")) is None
            assert await context.get_task(template, "a") is None

    async def test_scheduling_without_storage(self, bench: Bench) -> None:
        """The caller gets an error that the storage is unavailable; the call can be repeated."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        template = app.dynamic_task(name="template")(bench.log.note)
        async with bench.running(app) as worker:
            context = worker.context
            plan.always(fail())
            for call in (
                lambda: context.schedule_task(template, "a", execute_at=moment(60)),
                lambda: context.unschedule_task(template, "a"),
                lambda: context.get_task(template, "a"),
                lambda: context.list_tasks(template),
            ):
                assert isinstance(await attempt(bench, call), RepositoryUnavailableException)
            plan.clear()
            assert await attempt(bench, lambda: context.schedule_task(template, "a", execute_at=moment(60))) is None
            await bench.advance_to(60)
        assert bench.log.at() == [60]

    async def test_one_record_is_refused(self, bench: Bench) -> None:
        """The caller of that one gets the error; the other writes of the batch are stored."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        template = app.dynamic_task(name="template")(bench.log.note)
        plan.always(refuse(lambda one: one.key == "template:07"), "swap")
        async with app.create() as context:
            instances = [(f"{number:02}", {"interval": duration(60)}) for number in range(50)]
            result = await context.schedule_tasks(template, instances)
            assert result.done == 49
            assert [name for name, _ in result.refused] == ["07"]
            assert isinstance(result.refused[0][1], RecordRefusedException)
            with pytest.raises(RepositoryException):
                await context.schedule_task(template, "07", interval=duration(1))
            assert len((await context.list_tasks(template, 100)).tasks) == 49

    async def test_heartbeats_over_an_outage(self, bench: Bench) -> None:
        """A heartbeat that fails doesn't lose the lease: a later one prolongs it."""
        plan = FaultPlan()
        app = bench.app(repository_factory=plan.wrap(bench.factory))
        errors: list[type[Exception] | None] = []

        @app.task(interval=duration(200), lease_duration=duration(60))
        async def task(context: Context) -> None:
            bench.log.begin(context)
            for _ in range(4):
                await bench.clock.sleep(20)
                try:
                    await context.heartbeat()
                except RepositoryException as error:
                    errors.append(type(error))
                else:
                    errors.append(None)

        async with bench.running(app):
            await bench.advance(210)
            plan.always(fail())
            await bench.advance(15)
            plan.clear()
            await bench.advance_to(400)
        assert bench.log.at() == [200, 400]
        assert errors == [RepositoryUnavailableException, None, None, None]
