"""Outages in which some calls of the storage fail, and others succeed."""

from __future__ import annotations

import datetime
import logging
from contextlib import nullcontext

import pytest

from pyncette import Context, Pyncette
from pyncette.memory import MemoryRepository, memory_repository
from pyncette.testing import FaultPlan, FaultyRepository, ManualClock, fail
from pyncette.testing.faults import Method
from tests.running import running

SECOND = datetime.timedelta(seconds=1)


async def _body(context: Context) -> None: ...


@pytest.mark.parametrize(
    "failing", [["swap"], ["claim"], ["swap", "claim"], ["look"], ["look", "read"], ["clock"]], ids="+".join
)
async def test_an_outage_of_some_calls_ends_when_they_succeed(
    caplog: pytest.LogCaptureFixture, failing: list[Method]
) -> None:
    """For example, all writes fail on a full disk or a replica. Other calls that succeed don't end the outage."""
    clock, plan = ManualClock(), FaultPlan()
    app, first = Pyncette(plan.wrap(memory_repository), clock=clock), clock.time
    app.task(interval=10 * SECOND)(_body)

    @app.task(interval=7 * SECOND, lease_duration=9 * SECOND)
    async def renewed(context: Context) -> None:
        if context.scheduled_at < first + 8 * SECOND:
            await clock.sleep(55)

    def logged(start: str) -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.getMessage().startswith(start)]

    async with running(app):
        await clock.advance(11 * SECOND)
        plan.always(fail(), *failing)
        plan.calls.clear()
        await clock.advance(60 * SECOND)
        assert sum(plan.calls[method] for method in failing) <= 300, "repeated after a delay each"
        assert len(logged("The storage failed")) == 1
        assert not logged("The storage works again")
        plan.clear()
        await clock.advance(10 * SECOND)
        assert len(logged("The storage failed")) == 1
        assert len(logged("The storage works again")) == 1


async def test_an_outage_of_claims_ends_when_others_have_claimed(caplog: pytest.LogCaptureFixture) -> None:
    clock, plan = ManualClock(), FaultPlan()
    repository = FaultyRepository(MemoryRepository(), plan)
    app = Pyncette(lambda: nullcontext(repository), clock=clock, register_worker=False)
    template = app.dynamic_task()(_body)
    async with running(app) as context:
        await context.schedule_task(template, "once", execute_at=clock.time + SECOND)
        plan.always(fail(), "claim")
        await clock.advance(5 * SECOND)
        assert "The storage failed in claim" in caplog.text
        assert "works again" not in caplog.text
        async with app.create() as other:
            await other.unschedule_task(template, "once")
        await clock.advance(2 * SECOND)
        assert caplog.text.count("works again") == 1
