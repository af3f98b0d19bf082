"""When leases are renewed: tables, and an app in virtual time."""

from __future__ import annotations

import datetime
import logging
from contextlib import nullcontext
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from pyncette import Context, ExecutionMode, Pyncette
from pyncette._leases.renewals import is_due, is_unusual, look_interval, next_look, put_back_delay
from pyncette.events import AttemptEnded, AttemptRunning
from pyncette.memory import MemoryRepository, memory_repository
from pyncette.observer import Observer
from pyncette.prometheus import use_prometheus
from pyncette.record import QueueClaim
from pyncette.testing import Call, FaultPlan, ManualClock, fail
from tests.running import running

SECOND = 1_000_000
MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)


@pytest.mark.parametrize(
    "left, due",
    [
        pytest.param(60, False, id="just taken"),
        pytest.param(31, False, id="more than half is left"),
        pytest.param(30, True, id="half is left"),
        pytest.param(-5, True, id="it has ended, and holds until somebody takes it"),
        pytest.param(61, True, id="the clock went back"),
        pytest.param(3660, True, id="the clock went back by an hour"),
    ],
)
def test_which_leases_are_renewed(left: int, due: bool) -> None:
    now = 1_000 * SECOND
    assert is_due(now + left * SECOND, 60 * SECOND, now) is due


@pytest.mark.parametrize(
    "ends, look",
    [
        pytest.param([], 15, id="nothing to be renewed"),
        pytest.param([(59, 60)], 15, id="not before something else may have begun"),
        pytest.param([(59, 60), (41, 60), (50, 60)], 11, id="as soon as half of one is left"),
        pytest.param([(20, 20)], 10, id="each has a lease of its own"),
        pytest.param([(20, 60)], 0.001, id="never at once again"),
    ],
)
def test_the_next_look(ends: list[tuple[int, int]], look: float) -> None:
    now = 1_000 * SECOND
    leases = [(now + end * SECOND, lease * SECOND) for end, lease in ends]
    assert next_look(leases, 15 * SECOND, now) == now + look * SECOND


def test_looks_follow_the_shortest_lease() -> None:
    assert look_interval([60 * SECOND, 20 * SECOND]) == 5 * SECOND
    assert look_interval([1]) == 1_000
    assert look_interval([]) == 15 * SECOND


def test_which_executions_are_unusual() -> None:
    assert not is_unusual(599 * SECOND, 60 * SECOND, expired=False)
    assert is_unusual(600 * SECOND, 60 * SECOND, expired=False)
    assert is_unusual(61 * SECOND, 60 * SECOND, expired=True)


def test_the_delay_after_putting_back() -> None:
    assert put_back_delay(60 * SECOND) == 15 * SECOND
    assert put_back_delay(SECOND // 10) == SECOND


class Recorder(Observer):
    def __init__(self) -> None:
        self.running: list[float] = []
        self.ended: list[str] = []

    def attempt_running(self, event: AttemptRunning, /) -> None:
        self.running.append(event.duration)

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        self.ended.append(event.outcome)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("mode", ExecutionMode)
async def test_long_executions_are_reported(caplog: pytest.LogCaptureFixture, mode: ExecutionMode) -> None:
    """A single warning with its duration; an event and a metric repeatedly."""
    clock, recorder, registry = ManualClock(), Recorder(), CollectorRegistry()
    app = Pyncette(clock=clock)
    app.use_observer(recorder)
    use_prometheus(app, registry=registry)

    def longest() -> float | None:
        return registry.get_sample_value("pyncette_tasks_longest_running_seconds", {"task_name": "long"})

    @app.task(interval=10 * HOUR, execution_mode=mode)
    async def long(context: Context) -> None:
        await context.app_context.clock.sleep(3600)

    async with running(app):
        await clock.advance(10 * HOUR + 9 * MINUTE)
        assert warnings(caplog) == []
        assert recorder.running[0] == 30
        assert longest() == 540
        await clock.advance(20 * MINUTE)
        assert warnings(caplog) == ["long has been running for 600 s."]
        assert longest() == 29 * 60
        assert recorder.ended == []
        await clock.advance(2 * HOUR)
        assert longest() == 0
    assert recorder.ended == ["succeeded"]
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("heartbeat", [True, False])
async def test_six_hours_with_a_hanging_task(heartbeat: bool) -> None:
    clock, hung, runs = ManualClock(), [], []
    app = Pyncette(clock=clock, concurrency_limit=3)

    @app.task(interval=5 * MINUTE, heartbeat=heartbeat)
    async def hangs(context: Context) -> None:
        hung.append(context.scheduled_at)
        await anyio.sleep_forever()

    @app.task(interval=10 * MINUTE)
    async def other(context: Context) -> None:
        runs.append(context.scheduled_at)

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(6 * HOUR)
        group.cancel_scope.cancel()
    assert len(hung) == 1
    assert len(runs) == 36


async def test_a_lease_that_ends_without_renewal_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)

    @app.task(interval=10 * HOUR, heartbeat=False)
    async def long(context: Context) -> None:
        await context.app_context.clock.sleep(3600)

    async with running(app) as context:
        await clock.advance(10 * HOUR + 30 * MINUTE)
        assert warnings(caplog) == [
            "long has been running for 60 s, and its lease has ended: others may execute it too."
        ]
        await clock.advance(HOUR)
        state = await context.get_task(long)
        assert state is not None
        assert state.locked_until is None  # no other worker has taken it, so it was settled


async def test_renewals_outlast_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    clock, plan, runs = ManualClock(), FaultPlan(), []
    app = Pyncette(repository_factory=plan.wrap(memory_repository), clock=clock)

    @app.task(interval=10 * HOUR)
    async def long(context: Context) -> None:
        runs.append(context.scheduled_at)
        await context.app_context.clock.sleep(900)

    async with running(app) as context:
        await clock.advance(10 * HOUR + 0.4 * MINUTE)
        plan.always(fail())
        await clock.advance(0.5 * MINUTE)
        plan.clear()
        await clock.advance(20 * MINUTE)
        state = await context.get_task(long)
        assert state is not None
        assert state.locked_until is None
    assert len(runs) == 1
    assert any("works again" in message for message in warnings(caplog))


@pytest.mark.parametrize("by", ["reschedules", "unschedules", "reschedules by force"])
async def test_a_task_that_changes_itself_has_not_lost_its_lease(caplog: pytest.LogCaptureFixture, by: str) -> None:
    """It removes or reschedules itself: no warning claims that it was executed twice."""
    clock, runs = ManualClock(), []
    app = Pyncette(clock=clock)

    @app.dynamic_task()
    async def changing(context: Context) -> None:
        runs.append(context.scheduled_at)
        app_context = context.app_context
        if by != "reschedules by force":
            await app_context.unschedule_task(context.task)
        if by != "unschedules" and len(runs) == 1:
            force = by == "reschedules by force"
            await app_context.schedule_task(changing, context.task.name, force, execute_at=clock.time + MINUTE)

    async with running(app) as context:
        await context.schedule_task(changing, "a", execute_at=clock.time)
        await clock.advance(3 * MINUTE)
        assert await context.get_task(changing, "a") is None
    assert len(runs) == (1 if by == "unschedules" else 2)
    assert warnings(caplog) == []


@pytest.mark.parametrize("value", ["yes", 1, None, 0])
def test_other_values_of_the_policy(value: object) -> None:
    with pytest.raises(TypeError, match=r"heartbeat is .*: write True, False or 'cancel'\."):
        Pyncette().task(interval=MINUTE, heartbeat=value)(anyio.sleep_forever)  # type: ignore[arg-type]  # the mistake under test


def test_heartbeat_cancel_is_refused_at_most_once() -> None:
    with pytest.raises(ValueError, match="heartbeat='cancel' has no meaning"):

        @Pyncette().task(interval=MINUTE, heartbeat="cancel", execution_mode=ExecutionMode.AT_MOST_ONCE)
        async def body(context: Context) -> None: ...


class _Suspended(ManualClock):
    """:ivar later: microseconds by which sleeps end late, as if the machine had been suspended."""

    later = 0

    def now(self) -> int:
        return super().now() + self.later


@pytest.mark.parametrize("taken", [False, True])
async def test_a_claim_that_is_answered_after_its_lease_has_ended(
    taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is executed, unless another worker has taken it; then only that one executes it."""
    repository, plan, clock = MemoryRepository(), FaultPlan(), _Suspended()
    app = Pyncette(repository_factory=plan.wrap(lambda: nullcontext(repository)), clock=clock, register_worker=False)
    fences: list[int] = []

    @app.dynamic_task(lease_duration=MINUTE)
    async def late(context: Context) -> None:
        fences.append(context.fencing_token)

    async def suspended(call: Call) -> Any:
        records = await call()
        clock.later += 61 * SECOND
        if taken:
            claims = [QueueClaim(late.queue, 1, clock.now() + 60 * SECOND)]
            assert await repository.claim(claims, now=clock.now(), limit=1, token="theirs", holder="another")
        return records

    async with running(app) as context:
        plan.script("claim", suspended)
        await context.schedule_task(late, "one", execute_at=clock.time)
        await clock.advance(datetime.timedelta(seconds=5))
        assert len(fences) == (0 if taken else 1)
        left = await context.get_task(late, "one")
    assert (left is not None and left.locked_by == "another") if taken else left is None
    assert ("its lease was lost before it began" in caplog.text) is taken
