"""Attempts to store a batch are cancelled in time for another one before leases expire."""

from __future__ import annotations

import datetime
import math
from contextlib import nullcontext

import anyio
import pytest

from pyncette import Context, Pyncette
from pyncette._leases import store
from pyncette._leases.attempt import LONGEST, SHORTEST, Attempt, time_limit
from pyncette.clock import Clock, SystemClock
from pyncette.errors import RepositoryUnavailableException
from pyncette.memory import MemoryRepository, memory_repository
from pyncette.observer import Observers
from pyncette.testing import FaultPlan, ManualClock, delay
from tests.running import running

SECOND = 1_000_000


@pytest.mark.parametrize(
    "left, failures, seconds",
    [
        pytest.param(None, 0, math.inf, id="no lease"),
        pytest.param(30 * SECOND, 0, 7.5, id="a quarter of what is left"),
        pytest.param(SECOND, 0, SHORTEST, id="enough for an answer"),
        pytest.param(-5 * SECOND, 0, SHORTEST, id="it has ended"),
        pytest.param(-5 * SECOND, 3, 8 * SHORTEST, id="a store that is merely slow"),
        pytest.param(30 * SECOND, 3, 7.5, id="long enough anyway"),
        pytest.param(3600 * SECOND, 0, LONGEST, id="a long lease"),
        pytest.param(SECOND, 10_000, LONGEST, id="a long outage"),
    ],
)
def test_time_limits(left: int | None, failures: int, seconds: float) -> None:
    assert time_limit(left, failures) == seconds


async def test_an_attempt_is_cancelled_in_time() -> None:
    clock = SystemClock()
    attempt = Attempt(clock, 0)
    attempt.hurry([None, clock.now() + SECOND])
    with pytest.raises(RepositoryUnavailableException, match=r"did not answer within \d\.\d s"), attempt:
        await anyio.sleep_forever()


async def test_new_writes_shorten_the_attempt() -> None:
    clock = SystemClock()
    attempt = Attempt(clock, 0)
    attempt.hurry([None])

    async def wait() -> None:
        with attempt:
            for seconds in (3600, 1, 3600):
                attempt.hurry([clock.now() + seconds * SECOND])
            await anyio.sleep_forever()

    with anyio.fail_after(10), pytest.raises(RepositoryUnavailableException):
        await wait()


async def test_errors_of_the_block_are_raised() -> None:
    with pytest.raises(ZeroDivisionError), Attempt(SystemClock(), 0):
        raise ZeroDivisionError


@pytest.mark.parametrize("clock, in_time", [(SystemClock(), False), (ManualClock(), True)], ids=["real", "virtual"])
async def test_no_call_takes_long_in_virtual_time(monkeypatch: pytest.MonkeyPatch, clock: Clock, in_time: bool) -> None:
    """With a clock that stands still during calls, none fails on a slow machine."""
    monkeypatch.setattr(store, "LOOK_LIMIT", SHORTEST / 4)
    plan = FaultPlan()
    plan.script("look", delay(before=SHORTEST / 2))

    async def look() -> None:
        async with plan.wrap(memory_repository)() as repository:
            await store.Store(repository, clock, Observers(), {}).look((), ())

    async def attempt() -> None:
        attempt = Attempt(clock, 0)
        attempt.hurry([clock.now()])
        with attempt:
            await anyio.sleep(SHORTEST * 1.25)

    for call in (look, attempt):
        with nullcontext() if in_time else pytest.raises(RepositoryUnavailableException, match="did not answer within"):
            await call()


async def test_a_silent_connection_costs_no_lease() -> None:
    """Every second write gets no reply. Leases of 2 s are still renewed, and nothing is claimed in the meantime."""
    repository, plan, runs = MemoryRepository(), FaultPlan(), []
    app = Pyncette(
        repository_factory=plan.wrap(lambda: nullcontext(repository)), poll_interval=datetime.timedelta(0, 0.1)
    )
    other = Pyncette(repository_factory=lambda: nullcontext(repository), poll_interval=datetime.timedelta(0, 0.1))

    async def long(context: Context) -> None:
        runs.append(context.task.name)
        if context.task.name == "a":
            plan.script("swap", delay(before=60), None, delay(before=60), None)
            await anyio.sleep(4)

    templates = [
        each.dynamic_task(name="template", lease_duration=datetime.timedelta(seconds=2))(long) for each in (app, other)
    ]
    with anyio.fail_after(30):
        async with running(app) as context:
            now = datetime.datetime.now(datetime.UTC)
            await context.schedule_task(templates[0], "a", execute_at=now)
            while not runs:  # noqa: ASYNC110 - the other app must not be the first
                await anyio.sleep(0.01)
            async with running(other):
                await anyio.sleep(4.5)
                assert await context.get_task(templates[0], "a") is None
    assert runs == ["a"]
