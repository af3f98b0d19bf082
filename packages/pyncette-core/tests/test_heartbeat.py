"""Automatic heartbeats, in virtual time."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from pyncette import Context, Pyncette, PyncetteContext
from pyncette.errors import LeaseLostException
from pyncette.memory import MemoryRepository
from pyncette.repository import Repository
from pyncette.testing import FaultPlan, FaultyRepository, ManualClock, fail
from pyncette.utils import with_heartbeat

MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)


def test_without_parentheses() -> None:
    async def body(context: Context) -> None: ...

    with pytest.raises(TypeError, match=r"Write @with_heartbeat\(\), with parentheses"):
        with_heartbeat(body)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match=r"must be a number between 0 and 1, not '0\.5'"):
        with_heartbeat("0.5")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 7])
def test_a_ratio_outside_of_its_range(ratio: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        with_heartbeat(lease_remaining_ratio=ratio)


def test_the_wrong_order_of_decorators() -> None:
    task = Pyncette().task(interval=MINUTE)(_sleep_long)
    with pytest.raises(TypeError, match="below the decorator"):
        with_heartbeat()(task)


async def _sleep_long(context: Context) -> None:
    await context.app_context.clock.sleep(600)


@asynccontextmanager
async def running(app: Pyncette) -> AsyncIterator[PyncetteContext]:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        yield context
        group.cancel_scope.cancel()


async def test_the_lease_outlasts_its_duration() -> None:
    clock, runs = ManualClock(), []
    app = Pyncette(clock=clock)

    @app.task(interval=HOUR, lease_duration=MINUTE, heartbeat=False)
    @with_heartbeat()
    async def long(context: Context) -> None:
        runs.append(context.scheduled_at)
        await _sleep_long(context)

    async with running(app) as context:
        await clock.advance(HOUR + 9 * MINUTE)
        assert len(runs) == 1
        await clock.advance(2 * MINUTE)
        state = await context.get_task(long)
        assert state is not None
        assert state.locked_until is None
    assert len(runs) == 1


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_lost_lease(cancel: bool, caplog: pytest.LogCaptureFixture) -> None:
    clock, ends = ManualClock(), []
    app = Pyncette(clock=clock)

    @app.dynamic_task(lease_duration=MINUTE, heartbeat=False)
    @with_heartbeat(cancel_on_lease_lost=cancel)
    async def long(context: Context) -> None:
        try:
            await _sleep_long(context)
            with pytest.raises(LeaseLostException):
                await context.heartbeat()
            ends.append("ran to its end")
        except anyio.get_cancelled_exc_class():
            ends.append("cancelled")
            raise

    async with running(app) as context:
        await context.schedule_task(long, "x", execute_at=clock.time)
        await clock.advance(MINUTE)
        await context.unschedule_task(long, "x")
        await clock.advance(MINUTE)
        reported = [vars(record).get("task") for record in caplog.records if record.levelno >= logging.WARNING]
        assert reported == ["long:x"]
        await clock.advance(20 * MINUTE)
        assert await context.get_task(long, "x") is None
    assert ends == ["cancelled" if cancel else "ran to its end"]
    assert not any("executed twice" in record.getMessage() for record in caplog.records)  # it was removed, not taken


async def test_the_functions_error_is_raised_unwrapped() -> None:
    clock, errors = ManualClock(), []
    app = Pyncette(clock=clock)

    @app.middleware
    async def catch(context: Context, next: object) -> None:
        try:
            await next()  # type: ignore[operator]  # NextFunc; the annotation is not under test
        except ZeroDivisionError as e:
            errors.append(e)

    @app.task(interval=MINUTE)
    @with_heartbeat()
    async def broken(context: Context) -> None:
        raise ZeroDivisionError

    async with running(app):
        await clock.advance(MINUTE)
    assert len(errors) == 1


async def test_a_failed_heartbeat_is_retried_soon(caplog: pytest.LogCaptureFixture) -> None:
    clock, runs = ManualClock(), []
    repository = MemoryRepository()
    plan = FaultPlan()

    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        yield FaultyRepository(repository, plan)

    app = Pyncette(repository_factory=factory, clock=clock, register_worker=False)

    @app.task(interval=HOUR, lease_duration=MINUTE, heartbeat=False)
    @with_heartbeat()
    async def long(context: Context) -> None:
        runs.append(context.scheduled_at)
        await _sleep_long(context)

    async with running(app):
        await clock.advance(HOUR)
        plan.script("swap", fail(), fail())
        await clock.advance(5 * MINUTE)
    assert len(runs) == 1
    failed = [record for record in caplog.records if "heartbeat" in record.getMessage()]
    assert {vars(record)["task"] for record in failed} == {"long"}


async def test_a_synchronous_function() -> None:
    clock, runs = ManualClock(), []
    app = Pyncette(clock=clock)

    @app.task(interval=MINUTE)
    @with_heartbeat()
    def blocking(context: Context) -> None:
        time.sleep(0.01)
        runs.append(context.task.name)

    async with running(app):
        await clock.advance(MINUTE)
    assert runs == ["blocking"]
