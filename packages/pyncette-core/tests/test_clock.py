"""The storage's clock: what a reading implies, and when the clock is read again."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import anyio
import pytest

from pyncette import CatchUp, Context, Pyncette
from pyncette._leases.store import CLOCK_READINGS, Store
from pyncette.clock import DRIFT, Reading, SystemClock
from pyncette.memory import MemoryRepository
from pyncette.observer import Observers
from pyncette.testing import ManualClock
from pyncette.utils import with_heartbeat
from tests.running import running

SECOND = 1_000_000
MINUTE = datetime.timedelta(minutes=1)
HOUR = datetime.timedelta(hours=1)


def test_a_reading_bounds_the_difference() -> None:
    """The server's clock showed 500 at some moment from 90 to 100."""
    assert Reading.taken(500, took=10, at=100) == Reading(400, 410, 100)


def test_clocks_drift_apart() -> None:
    assert Reading(400, 410, 100).later(100 + 3 * DRIFT) == Reading(397, 413, 100 + 3 * DRIFT)


@pytest.mark.parametrize(
    "old, newer, both",
    [
        pytest.param((400, 410), (405, 480), (405, 410), id="they overlap"),
        pytest.param((400, 410), (0, 9_000), (400, 410), id="a slow one spoils nothing"),
        pytest.param((0, 9_000), (400, 410), (400, 410), id="a quick one counts"),
        pytest.param((400, 410), (900, 910), (900, 910), id="the server's clock was set"),
        pytest.param((400, 410), (100, 110), (100, 110), id="it was set back"),
    ],
)
def test_several_readings(old: tuple[int, int], newer: tuple[int, int], both: tuple[int, int]) -> None:
    assert Reading(*old, at=7).narrowed(Reading(*newer, at=7)) == Reading(*both, at=7)


class Machine:
    """The clocks of a machine and of a server that it queries. Microseconds."""

    def __init__(self) -> None:
        self.wall = 1_000 * SECOND
        self.monotonic = 77 * SECOND
        self.server = 5_000 * SECOND

    def pass_(self, microseconds: int) -> None:
        self.wall += microseconds
        self.monotonic += microseconds
        self.server += microseconds

    def suspend(self, microseconds: int) -> None:
        self.wall += microseconds
        self.server += microseconds


class SlowServer(MemoryRepository):
    """A server with latency in both directions."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.latencies: list[tuple[int, int]] = []
        self.asked = 0

    async def clock(self) -> int:
        self.asked += 1
        there, back = self.latencies.pop(0) if self.latencies else (500, 500)
        self.machine.pass_(there)
        shown = self.machine.server
        self.machine.pass_(back)
        return shown


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: machine.wall * 1000)
        patched.setattr(time, "monotonic_ns", lambda: machine.monotonic * 1000)
        yield machine


@pytest.fixture
def asked(machine: Machine) -> SlowServer:
    return SlowServer(machine)


async def test_a_slow_answer_changes_nothing(machine: Machine, asked: SlowServer) -> None:
    clock = SystemClock()
    store = Store(asked, clock, Observers(), {})
    await store.follow_clock()
    assert (asked.asked, clock.now(), clock.error) == (1, machine.server - 500, 1_000)
    machine.pass_(31 * SECOND)
    asked.latencies = [(SECOND // 2, 9 * SECOND)]
    await store.follow_clock()
    assert asked.asked == 2
    assert machine.server - 20_000 < clock.now() <= machine.server <= clock.now() + clock.error


async def test_a_machine_with_a_fast_clock_begins_nothing_early(machine: Machine, asked: SlowServer) -> None:
    """Between two readings, its clock may run ahead of the storage's only by the drift of working clocks."""
    clock = SystemClock()
    await Store(asked, clock, Observers(), {}).follow_clock()
    machine.pass_(29 * SECOND)
    machine.server -= 29 * SECOND // DRIFT
    assert clock.now() <= machine.server <= clock.now() + clock.error


async def test_a_slow_first_answer_is_repeated(machine: Machine, asked: SlowServer) -> None:
    clock = SystemClock()
    asked.latencies = [(SECOND // 2, 9 * SECOND), (4 * SECOND, 0)]
    await Store(asked, clock, Observers(), {}).follow_clock()
    assert asked.asked == 3
    assert clock.error < 10_000
    assert clock.now() <= machine.server <= clock.now() + clock.error


async def test_on_a_network_that_is_always_slow(machine: Machine, asked: SlowServer) -> None:
    """The error is known: leases last that much longer, so that workers with better clocks don't take them early."""
    clock = SystemClock()
    asked.latencies = [(SECOND // 4, SECOND // 4)] * 10
    await Store(asked, clock, Observers(), {}).follow_clock()
    assert asked.asked == CLOCK_READINGS
    assert clock.now() <= machine.server <= clock.now() + clock.error
    assert clock.error >= SECOND // 2


async def test_a_machine_that_was_suspended_reads_again(machine: Machine, asked: SlowServer) -> None:
    clock = SystemClock()
    store = Store(asked, clock, Observers(), {})
    await store.follow_clock()
    machine.pass_(SECOND)
    await store.follow_clock()
    assert asked.asked == 1
    machine.suspend(20 * SECOND)
    assert clock.now() < machine.server - 19 * SECOND
    await store.follow_clock()
    assert asked.asked == 2
    assert clock.now() <= machine.server <= clock.now() + clock.error
    assert not clock.disturbed


class UncertainClock(ManualClock):
    """A clock that may be up to half a second behind."""

    error = 500_000


async def test_leases_last_even_if_the_clock_is_behind() -> None:
    clock, repository = UncertainClock(), MemoryRepository()
    app = Pyncette(clock=clock, repository_factory=lambda: nullcontext(repository))

    @app.task(interval=HOUR)
    async def long(context: Context) -> None:
        await clock.sleep(100)

    async with running(app) as context:
        ends = []
        await clock.advance(HOUR)
        for _ in range(2):
            state = await context.get_task(long)
            assert state is not None
            assert state.locked_until is not None
            ends.append((state.locked_until - state.scheduled_at).total_seconds())
            await clock.advance(datetime.timedelta(seconds=35))
        await clock.advance(MINUTE)
    assert ends == [60.5, 90.5]


class SettableClock(ManualClock):
    """A machine's clock that can be set. Sleeps are monotonic, so they end as if it had not been set."""

    def set(self, by: datetime.timedelta) -> None:
        microseconds = by // datetime.timedelta(microseconds=1)
        self._now += microseconds
        for sleeper in self._sleepers:
            sleeper.when += microseconds


@pytest.mark.parametrize("back", [HOUR, MINUTE])
@pytest.mark.parametrize("by_hand", [False, True], ids=["renewed", "with_heartbeat"])
async def test_the_clock_is_set_back(back: datetime.timedelta, by_hand: bool) -> None:
    """Leases keep being renewed, so that nothing is executed twice when the clock passes their ends again."""
    clock, repository, runs = SettableClock(), MemoryRepository(), []
    app = Pyncette(clock=clock, repository_factory=lambda: nullcontext(repository))

    async def long(context: Context) -> None:
        runs.append(context.scheduled_at)
        await anyio.sleep_forever()

    function = with_heartbeat()(long) if by_hand else long
    template = app.dynamic_task(name="template", heartbeat=not by_hand)(function)
    async with app.create() as first, app.create() as second, anyio.create_task_group() as group:
        group.start_soon(first.run)
        group.start_soon(second.run)
        await first.schedule_task(template, "a", execute_at=clock.time)
        await clock.advance(MINUTE / 6)
        clock.set(-back)
        await clock.advance(back + 10 * MINUTE)
        group.cancel_scope.cancel()
    assert len(runs) == 1


@pytest.mark.parametrize("ahead", [datetime.timedelta(days=72 * 365), datetime.timedelta(minutes=30)])
@pytest.mark.parametrize("timing", [{"schedule": "* * * * *"}, {"interval": MINUTE}], ids=["cron", "interval"])
async def test_a_static_task_outlives_a_clock_that_was_ahead(
    ahead: datetime.timedelta, timing: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What it stored then is in the future once the clock is corrected."""
    clock, repository, runs = SettableClock(), MemoryRepository(), []
    app = Pyncette(clock=clock, repository_factory=lambda: nullcontext(repository))

    @app.task(**timing, catch_up=CatchUp.LATEST)
    async def task(context: Context) -> None:
        runs.append(clock.time)

    async with running(app):
        await clock.advance(3 * MINUTE)
        clock.set(ahead)
        await clock.advance(2 * MINUTE)
        clock.set(-ahead)
        right, before = clock.time, len(runs)
        await clock.advance(5 * MINUTE)
    assert 4 <= len(runs) - before <= 6
    assert all(right <= moment <= right + 5 * MINUTE for moment in runs[before:])
    assert sum("later than on its schedule" in record.getMessage() for record in caplog.records) == 1
