"""Metrics of a running app, parsed by Prometheus's own parser."""

from __future__ import annotations

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from pyncette import Context, GiveUp, Pyncette, Retry
from pyncette.memory import MemoryRepository
from pyncette.prometheus import use_prometheus
from pyncette.testing import FaultPlan, ManualClock, fail
from tests.running import running, take

SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)


def scrape(registry: CollectorRegistry) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The values of each sample by labels, as a Prometheus server would read them."""
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


async def measured_run(registry: CollectorRegistry) -> None:
    """A failure, a lost lease, an executed instance, and a failed tick."""
    clock, plan = ManualClock(), FaultPlan()
    repository = MemoryRepository()
    app = Pyncette(repository_factory=plan.wrap(lambda: nullcontext(repository)), clock=clock)
    use_prometheus(app, registry=registry)

    @app.task(interval=MINUTE)
    async def static(context: Context) -> None:
        raise ZeroDivisionError

    @app.dynamic_task(lease_duration=10 * SECOND)
    async def dynamic(context: Context) -> None:
        if context.task.name == "lost":
            await take(repository, dynamic, at=clock.now() + 3_600_000_000)

    async with running(app) as context:
        await context.schedule_task(dynamic, "lost", execute_at=clock.time + SECOND)
        await clock.advance(SECOND)
        await context.schedule_task(dynamic, "other", execute_at=clock.time + SECOND)
        await clock.advance(MINUTE - SECOND)
        plan.always(fail())
        await clock.advance(SECOND)
        plan.clear()
        await clock.advance(SECOND)


def task(name: str) -> tuple[tuple[str, str], ...]:
    return (("task_name", name),)


async def test_the_lag_drops_when_nothing_is_left_to_claim() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    repository = MemoryRepository()
    app = Pyncette(repository_factory=lambda: nullcontext(repository), clock=clock)
    use_prometheus(app, registry=registry)
    late = clock.time - MINUTE

    @app.dynamic_task()
    async def dynamic(context: Context) -> None: ...

    async with app.create() as context:
        await context.schedule_task(dynamic, "late", execute_at=late)
    async with running(app):
        await clock.advance(datetime.timedelta())
        assert scrape(registry)["pyncette_due_lag_seconds"] == {(): 60}
        await clock.advance(MINUTE)
        assert scrape(registry)["pyncette_due_lag_seconds"] == {(): 0}


async def test_all_families() -> None:
    registry = CollectorRegistry()
    await measured_run(registry)
    found = scrape(registry)
    executed = {task("static"): 1, task("dynamic"): 2}
    failed = {(("exception_type", "ZeroDivisionError"), ("task_name", "static")): 1}
    assert found["pyncette_tasks_total"] == executed
    assert found["pyncette_tasks_in_progress"] == dict.fromkeys(executed, 0)
    assert found["pyncette_tasks_failures_total"] == failed
    assert found["pyncette_tasks_duration_seconds_count"] == executed
    assert found["pyncette_tasks_staleness_seconds_count"] == executed
    assert found["pyncette_leases_lost_total"] == {task("dynamic"): 1}
    assert found["pyncette_ticks_total"][()] > 1
    assert found["pyncette_ticks_in_progress"] == {(): 0}
    assert found["pyncette_ticks_failures_total"] == {(("exception_type", "RepositoryUnavailableException"),): 1}
    assert found["pyncette_ticks_duration_seconds_count"] == found["pyncette_ticks_total"]
    assert found["pyncette_due_lag_seconds"] == {(): 0}
    assert found["pyncette_settlement_batch_size_count"][()] > 1
    operations = found["pyncette_repository_ops_total"]
    assert operations[("operation", "claim"), ("task_name", "static")] > 0, "nothing else was due then"
    assert operations[("operation", "swap"), ("task_name", "dynamic")] > 0
    assert found["pyncette_repository_ops_in_progress"] == dict.fromkeys(operations, 0)
    assert found["pyncette_repository_ops_duration_seconds_count"] == operations
    assert sum(found["pyncette_repository_ops_failures_total"].values()) == 1


@pytest.mark.parametrize("measured", ["repository", "ticks", "tasks"])
async def test_each_part_can_be_left_out(measured: str) -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    app = Pyncette(clock=clock)
    use_prometheus(
        app,
        measure_repository=measured == "repository",
        measure_ticks=measured == "ticks",
        measure_tasks=measured == "tasks",
        registry=registry,
    )

    @app.task(interval=MINUTE)
    async def static(context: Context) -> None: ...

    async with running(app):
        await clock.advance(MINUTE)
    found = scrape(registry)
    counted = {
        "repository": bool(found.get("pyncette_repository_ops_total")),
        "ticks": found["pyncette_ticks_total"] != {(): 0},
        "tasks": bool(found.get("pyncette_tasks_total")),
    }
    assert counted == {part: part == measured for part in counted}


async def test_two_apps_share_a_registry() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    for _ in range(2):
        app = Pyncette(clock=clock)
        use_prometheus(app, registry=registry)

        @app.task(interval=MINUTE)
        async def static(context: Context) -> None: ...

        async with running(app):
            await clock.advance(MINUTE)
    assert scrape(registry)["pyncette_tasks_total"] == {(("task_name", "static"),): 2}


def test_two_threads_share_a_registry() -> None:
    """Each makes an app, and asks for its metrics, at the same moment."""
    both = threading.Barrier(2)

    class Registry(CollectorRegistry):
        def register(self, collector: Collector) -> None:
            with suppress(threading.BrokenBarrierError):  # nobody else makes metrics, as it should be
                both.wait(0.5)
            super().register(collector)

    registry = Registry()
    with ThreadPoolExecutor(2) as threads:
        for made in [threads.submit(use_prometheus, Pyncette(), registry=registry) for _ in range(2)]:
            made.result()


async def test_a_cancelled_execution_is_no_failure() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    app = Pyncette(clock=clock)
    use_prometheus(app, registry=registry)

    @app.task(interval=MINUTE)
    async def endless(context: Context) -> None:
        await anyio.sleep_forever()

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(MINUTE)
        assert scrape(registry)["pyncette_tasks_in_progress"] == {(("task_name", "endless"),): 1}
        group.cancel_scope.cancel()
    found = scrape(registry)
    assert found["pyncette_tasks_in_progress"] == {(("task_name", "endless"),): 0}
    assert "pyncette_tasks_failures_total" not in found


async def test_sampled_metrics() -> None:
    """One of several workers reports what is stored; when it ends, another one takes over."""
    clock, repository = ManualClock(), MemoryRepository()

    def worker(name: str) -> tuple[Pyncette, CollectorRegistry]:
        app = Pyncette(lambda: nullcontext(repository), clock=clock, worker_name=name)
        registry = CollectorRegistry()
        use_prometheus(app, registry=registry)

        @app.dynamic_task(name="fails", retry=Retry(1))
        async def fails(context: Context) -> None:
            raise GiveUp("says the test")

        return app, registry

    (one, first), (two, second) = worker("a"), worker("b")
    (fails,) = one.declared
    async with running(two), running(one) as context:
        await context.schedule_task(fails, "dead", execute_at=clock.time + SECOND)
        await context.schedule_task(fails, "paused", execute_at=clock.time + MINUTE, paused=True)
        await clock.advance(SECOND)
        await clock.advance(MINUTE)
        shown = scrape(first)
        assert shown["pyncette_instances"] == {
            (("state", "dead"), ("task_name", "fails")): 1,
            (("state", "paused"), ("task_name", "fails")): 1,
        }
        assert shown["pyncette_backlog_age_seconds"] == {task("fails"): 0}
        assert shown["pyncette_executions_beyond_lease"] == shown["pyncette_writes_overdue"] == {(): 0}
        assert "pyncette_instances" not in scrape(second)
        assert scrape(second)["pyncette_writes_overdue"] == {(): 0}
    async with running(two):
        await clock.advance(2 * MINUTE)
        assert scrape(second)["pyncette_instances"][("state", "dead"), ("task_name", "fails")] == 1


async def test_each_task_is_reported_by_a_worker_that_executes_it() -> None:
    """Whatever else is executed and measured on the same storage, and whichever worker is first by name."""
    clock, repository = ManualClock(), MemoryRepository()
    registry = CollectorRegistry()

    def app(name: str, *tasks: str) -> Pyncette:
        app = Pyncette(lambda: nullcontext(repository), clock=clock, worker_name=name)
        for task in tasks:

            @app.dynamic_task(name=task)
            async def note(context: Context) -> None: ...

        return app

    measured, other, unmeasured = app("c", "one", "two"), app("b", "other"), app("a", "one", "two")
    use_prometheus(measured, registry=registry)
    use_prometheus(other, registry=CollectorRegistry())
    async with running(unmeasured), running(other), running(measured):
        for _ in range(4):
            await clock.advance(MINUTE / 4)
        assert scrape(registry)["pyncette_backlog_age_seconds"].keys() == {task("one"), task("two")}


async def test_a_backlog_with_a_paused_namesake() -> None:
    """A template's pause doesn't affect a static task of the same name."""
    clock, registry = ManualClock(), CollectorRegistry()
    repository = MemoryRepository()
    app, other = (Pyncette(lambda: nullcontext(repository), clock=clock, concurrency_limit=1) for _ in range(2))
    use_prometheus(app, registry=registry)

    @other.dynamic_task(name="waits")
    async def template(context: Context) -> None: ...

    @app.task(interval=SECOND)
    async def takes_the_only_slot(context: Context) -> None:
        await anyio.sleep_forever()

    @app.task(name="waits", interval=MINUTE)
    async def waits(context: Context) -> None: ...

    async with other.create() as operator:
        await operator.pause_task(template)
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(3 * MINUTE)
        assert scrape(registry)["pyncette_backlog_age_seconds"][task("waits")] > 0
        group.cancel_scope.cancel()


async def test_a_backlog() -> None:
    """The age of what is ready but can't be claimed is shown, unless the template is paused."""
    clock, registry = ManualClock(), CollectorRegistry()
    app = Pyncette(clock=clock)
    use_prometheus(app, registry=registry)

    @app.dynamic_task(concurrency=1)
    async def busy(context: Context) -> None:
        await clock.wait_until(clock.now() + 3_600_000_000)

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        for name in ("one", "two"):
            await context.schedule_task(busy, name, execute_at=clock.time + SECOND)
        await clock.advance(2 * MINUTE)
        assert 60 <= scrape(registry)["pyncette_backlog_age_seconds"][task("busy")] <= 120
        await context.pause_task(busy)
        await clock.advance(MINUTE)
        assert scrape(registry)["pyncette_backlog_age_seconds"] == {task("busy"): 0}
        group.cancel_scope.cancel()
