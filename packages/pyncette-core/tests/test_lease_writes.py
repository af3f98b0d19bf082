"""What a lease holder's writes store, and what happens to them if a reply is lost."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from pyncette import ExecutionMode, FailureMode, Retry, lease
from pyncette._leases.held import Advance, Conclude, Extend, HeldLease, Limit, Renew, Settle, Settling
from pyncette._leases.history import History
from pyncette._leases.store import Store
from pyncette._leases.writer import Writer
from pyncette._leases.writes import Write
from pyncette._lifecycle.at_most_once import advance, conclude
from pyncette._lifecycle.end import end
from pyncette._lifecycle.values import Attempt, AttemptEnd, Skipped
from pyncette._tasks.spec import Spec, encode
from pyncette._tasks.state import State, latest_runs
from pyncette.clock import SystemClock
from pyncette.errors import LeaseLostException, RepositoryUnavailableException
from pyncette.memory import MemoryRepository
from pyncette.observer import Observers
from pyncette.record import Change, Record, Swap
from pyncette.schedule import Once
from pyncette.testing import FaultPlan, FaultyRepository, ManualClock
from tests.helpers.leases import DUE, ENDS, EVERY_MINUTE, MINUTE, NOW, SECOND, asked, due, made, taken

ONCE = ExecutionMode.AT_MOST_ONCE


def without_revision(change: Change | None) -> Change | None:
    if change is None or change.new is None:
        return change
    return replace(change, new=replace(change.new, revision=""))


class Reports:
    """Records what is reported at the end of writes."""

    def __init__(self) -> None:
        self.ends: list[tuple[object, Exception | None]] = []

    def __call__(self, write: object, error: Exception | None = None) -> None:
        self.ends.append((write, error))


def history() -> History:
    clock = ManualClock()
    store = Store(MemoryRepository(), clock, Observers(), {})
    return History(store, clock, datetime.timedelta(days=1), errors_only=False)


def attempt(how: AttemptEnd = AttemptEnd.SUCCEEDED, error: BaseException | None = None) -> Attempt:
    return Attempt(how, DUE, NOW - SECOND, NOW - 2 * SECOND, error, "host:1")


def test_extending() -> None:
    held = made()
    held.carried = "carried"
    write = Extend(held, 5 * MINUTE)
    assert (write.ref, write.held, write.lease_ends, write.persistent) == (held.record.ref, held, ENDS, False)
    assert write.carried == "carried"
    change = write.decide(NOW)
    assert change is not None
    assert change.old is held.record
    assert without_revision(change) == without_revision(
        lease.extend(held.record, locked_until=NOW + 5 * MINUTE, revision="")
    )
    assert change.new is not None
    assert len(change.new.revision) == 16
    write.stored(change.new)
    assert (held.record, write.known) == (change.new, change.new)
    write.stored(None)
    assert (held.record, write.known) == (change.new, None)


def test_a_write_of_a_lost_lease_stores_nothing() -> None:
    held = made()
    other = Extend(held, MINUTE)
    other.known, other.was_read = taken(due(), "theirs"), True
    assert other.decide(NOW) is None
    assert held.lost
    assert Extend(held, MINUTE).decide(NOW) is None


@pytest.mark.parametrize("now, is_taken", [(ENDS - 1, False), (ENDS, True)])
def test_a_record_that_is_gone_when_a_write_is_decided(now: int, is_taken: bool) -> None:
    held = made()
    write = Extend(held, MINUTE)
    write.known, write.was_read = None, True
    assert write.decide(now) is None
    assert held.taken is is_taken


def test_a_write_decides_from_what_was_read() -> None:
    held = made()
    write = Extend(held, MINUTE)
    write.known = replace(held.record, revision="s", state="noted")
    write.was_read = True
    change = write.decide(NOW)
    assert change is not None
    assert change.old == held.record == write.known


def test_renewing() -> None:
    held, kept = made(), Reports()
    write = Renew(held, 5 * MINUTE, kept)
    assert held.renewing is True
    assert write.persistent is True
    expected = lease.extend(held.record, locked_until=NOW + 5 * MINUTE, revision="")
    assert without_revision(write.decide(NOW)) == without_revision(expected)
    change = write.decide(NOW)
    assert change is not None
    assert change.new is not None
    assert len(change.new.revision) == 16
    held.ended = True
    assert write.decide(NOW) is None
    write.finished(None)
    assert (held.renewing, kept.ends) == (False, [(held, None)])


SKIPS = (Skipped(DUE - 2 * MINUTE, DUE - MINUTE, 2, True, "late"),)


def test_advancing() -> None:
    held = made(execution_mode=ONCE)
    held.skips, held.due_at = SKIPS, DUE + MINUTE
    write = Advance(held, "host:1")
    assert (write.result.change, write.advanced) == (None, None)
    change = write.decide(NOW)
    expected = advance(
        held.record, EVERY_MINUTE, held.task.policies, DUE + MINUTE, now=NOW, worker="host:1", revision="", skips=SKIPS
    )
    assert without_revision(change) == without_revision(expected.change)
    assert write.result.change is change
    assert list(write.result.skips) == list(expected.skips)
    assert change is not None
    assert change.new is not None
    assert len(change.new.revision) == 16
    mine = held.record
    write.stored(change.new)
    assert (write.advanced, held.record) == (change.new, mine), "it is executed by what it was claimed with"


@pytest.mark.parametrize("is_logged", [False, True])
@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_settling(error: Exception | None, is_logged: bool) -> None:
    held, kept = made(retry=Retry(3, jitter=0)), Reports()
    how = AttemptEnd.FAILED if error else AttemptEnd.SUCCEEDED
    settling = Settling(7 * SECOND, history() if is_logged else None, kept)
    write = Settle(held, attempt(how, error), settling)
    assert (write.result.change, write.persistent, write.run) == (None, True, held.record)
    change = write.decide(NOW)
    assert change is not None
    assert change.new is not None
    expected = end(
        held.record, EVERY_MINUTE, held.task.policies, attempt(how, error),
        now=NOW, retry_delay=7 * SECOND, revision=change.new.revision,
    )  # fmt: skip
    assert len(change.new.revision) == 16
    assert replace(change, run=None) == expected.change
    assert (write.result.outcome, write.result.again_at) == (expected.outcome, expected.again_at)
    if is_logged and error is None:
        assert change.run is not None
        assert (change.run.key, change.run.outcome) == ("task:a", "succeeded")
    else:
        assert change.run is None
    write.finished(error)
    assert kept.ends == [(write, error)]


def test_when_a_failed_attempt_is_repeated() -> None:
    """Without a retry policy, after the app's delay."""
    held = made(failure_mode=FailureMode.UNLOCK)
    write = Settle(held, attempt(AttemptEnd.FAILED, ValueError()), Settling(7 * SECOND, None, Reports()))
    write.decide(NOW)
    assert write.result.again_at == NOW - SECOND + 7 * SECOND


@pytest.mark.parametrize("trigger", ["schedule", "manual"])
@pytest.mark.parametrize("is_logged", [False, True])
def test_concluding(trigger: str, is_logged: bool) -> None:
    """The outcome is recorded in the record that the advance has left. Failures of manual runs pause nothing."""
    held, kept = made(asked() if trigger == "manual" else None, execution_mode=ONCE, pause_after=1), Reports()
    held.carried = "carried"
    started = Advance(held, "host:1").change(NOW)
    assert started is not None
    advanced = started.new
    failed = attempt(AttemptEnd.FAILED, ValueError("no"))
    write = Conclude(held, advanced, failed, history() if is_logged else None, kept)
    assert (write.ref, write.known, write.carried) == (held.record.ref, advanced, "carried")
    assert (write.held, write.attempt, write.run, write.result.change) == (held, failed, held.record, None)
    change = write.decide(NOW + 3)
    assert change is not None
    assert change.new is not None
    assert len(change.new.revision) == 16
    policies, revision, fence = held.task.policies, change.new.revision, held.record.fence
    expected = conclude(advanced, fence, policies, failed, NOW + 3, revision, trigger=trigger)  # type: ignore[arg-type]  # one of both
    assert replace(change, run=None) == expected.change
    assert write.result.outcome == "failed"
    assert ('"why"' in change.new.state) is (trigger == "schedule")
    assert (change.run.outcome if change.run else None) == ("failed" if is_logged else None)
    error = OSError()
    write.finished(error)
    assert kept.ends == [(write, error)]


@pytest.mark.parametrize("keep_runs, arrived", [(3, False), (0, True)])
def test_an_unknowable_conclusion_is_not_repeated(keep_runs: int, arrived: bool) -> None:
    """A reply was lost, and others have changed the record since. A run that is still listed shows whether its end is
    recorded, and is decided again; for one that isn't, it is unknowable."""
    held = made(execution_mode=ONCE, keep_runs=keep_runs)
    advanced = Advance(held, "host:1").change(NOW)
    assert advanced is not None
    write = Conclude(held, advanced.new, attempt(AttemptEnd.SUCCEEDED, None), None, Reports())
    sent = write.decide(NOW)
    assert sent is not None
    assert not write.arrived(sent)  # nothing has changed
    assert advanced.new is not None
    write.known = replace(advanced.new, revision="another")
    assert write.arrived(sent) is arrived
    write.known = sent.new
    assert write.arrived(sent)
    write.known = None
    assert not write.arrived(sent)


async def test_the_limit_of_an_execution() -> None:
    renewed: list[HeldLease] = []
    scope, held = anyio.CancelScope(), made()
    limit = Limit(scope, NOW, ENDS, renewed.append)
    assert (limit.scope, limit.started_at, limit.times_out_at, limit.cut) == (scope, NOW, ENDS, None)
    limit.renewed(held)
    assert renewed == [held]


class Storage:
    """A leased record and a writer, whose replies are lost and found out after others have changed the record."""

    def __init__(self, held: HeldLease) -> None:
        self.held = held
        self.repository = MemoryRepository()
        self.plan = FaultPlan()
        clock = SystemClock()
        self.writer = Writer(Store(FaultyRepository(self.repository, self.plan), clock, Observers(), {}), clock)

    async def read(self) -> Record | None:
        [record] = await self.repository.read([self.held.record.ref])
        return record

    async def put(self, new: Record | None) -> None:
        assert await self.repository.swap([Change(await self.read(), new)]) == [Swap.APPLIED]

    async def submit(
        self, write: Write, *, replies_lost: int = 1, meanwhile: Callable[[Record], Record] | None
    ) -> None:
        """:param meanwhile: how others change the stored record before the reply times out."""

        async def changed(call: Any) -> Any:
            await call()
            stored = await self.read()
            if stored is not None and meanwhile is not None:
                await self.put(meanwhile(stored))
            raise RepositoryUnavailableException("The answer is lost.")

        self.plan.script("swap", changed)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.writer.run)
            self.writer.submit(write)
            await self.writer.drained()
            self.writer.stop()


def waits(stored: Record) -> Record:
    """Another worker has claimed the record after the write."""
    return taken(stored, "theirs")


def executed(stored: Record) -> Record:
    """Another worker has claimed and settled the record after the write."""
    state = State(stored.state)
    return replace(stored, revision="s", fence=stored.fence + 1, state=state.text(stored.fence + 1))


@pytest.mark.parametrize("kind", ["settle", "advance"])
@pytest.mark.parametrize("meanwhile, arrives", [(None, True), (waits, True), (executed, False)])
async def test_a_lost_reply(kind: str, meanwhile: Callable[[Record], Record] | None, arrives: bool) -> None:
    """If the write's own fence was settled last, it was stored, even if another worker has claimed the record since.
    Once that worker has settled, nothing shows it any more."""
    held, kept = made(execution_mode=ONCE) if kind == "advance" else made(), Reports()
    storage = Storage(held)
    await storage.put(held.record)
    write = Advance(held, "host:1") if kind == "advance" else Settle(held, attempt(), Settling(0, None, kept))
    await storage.submit(write, meanwhile=meanwhile)
    assert write.done
    assert held.lost is not arrives
    found = await storage.read()
    assert found is not None
    assert len(latest_runs(found.state)) == 1, "it is not stored twice"


async def test_a_lost_reply_to_a_deletion() -> None:
    """A settlement must have been stored, because nobody else would delete the record. An advance may not have been, so
    that nothing is executed."""
    one_off = Spec(Once(DUE))
    for write_of, lost in (
        (lambda held: Settle(held, attempt(), Settling(0, None, Reports())), False),
        (lambda held: Advance(held, "host:1"), True),
    ):
        held = made(due(spec=encode(one_off)), execution_mode=ONCE if lost else ExecutionMode.AT_LEAST_ONCE)
        held.spec = one_off
        storage = Storage(held)
        await storage.put(held.record)
        write = write_of(held)
        await storage.submit(write, meanwhile=None)
        assert await storage.read() is None
        assert held.lost is lost


async def test_waiting_for_a_write_raises_if_the_lease_is_lost() -> None:
    held = made()
    storage = Storage(held)
    await storage.put(taken(due(), "theirs"))
    write = Extend(held, MINUTE)
    await storage.submit(write, meanwhile=None)
    with pytest.raises(LeaseLostException, match="'task:a' is lost") as caught:
        await write.wait()
    assert caught.value.task is held.task


@pytest.mark.parametrize("error", [None, OSError("no")])
async def test_waiting_for_a_write_raises_its_error(error: Exception | None) -> None:
    write = Extend(made(), MINUTE)
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            if error is None:
                await write.wait()
                return
            with pytest.raises(OSError, match="no"):
                await write.wait()

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        write.done = True
        write.finished(error)
