"""Group commit: what is sent and awaited, and how each reply is handled, including locked records."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pyncette._leases import writer as writer_module
from pyncette._leases.store import Store
from pyncette._leases.writer import MAX_BUSY_DELAY, Writer
from pyncette._leases.writes import Awaited
from pyncette.clock import SystemClock
from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.memory import MemoryRepository
from pyncette.observer import Observers
from pyncette.record import Change, Record, Ref, Swap
from pyncette.testing import Call, FaultPlan, FaultyRepository, ManualClock, delay, lose_reply, refuse
from pyncette.testing.faults import Method


class Put(Awaited):
    """Creates the record, or writes it again.

    :ivar asked: the times that it was given.
    """

    def __init__(self, key: str = "q:x", *, fresh: bool = True) -> None:
        super().__init__(Ref("q", key), None, fresh=fresh)
        self.asked: list[int] = []

    def decide(self, now: int) -> Change | None:
        self.asked.append(now)
        revision = f"{self.ref.key} {len(self.asked)}"
        return Change(self.known, Record("q", self.ref.key, 1, 1, None, None, revision, 0, 0, "{}"))


class Delete(Put):
    def decide(self, now: int) -> Change | None:
        self.asked.append(now)
        return None if self.known is None else Change(self.known, None)


class Stopping(Put):
    """Stops the writer while its batch is being decided."""

    def __init__(self, writer: Writer) -> None:
        super().__init__("q:a")
        self._writer = writer

    def decide(self, now: int) -> Change | None:
        self._writer.stop()
        return super().decide(now)


class Locked(MemoryRepository):
    """Another transaction has locked some records.

    :ivar asked: the number of attempts to store something.
    """

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.locked = set(keys)
        self.asked = 0

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        self.asked += 1
        free = iter(await super().swap([change for change in changes if change.ref.key not in self.locked]))
        return [Swap.BUSY if change.ref.key in self.locked else next(free) for change in changes]


class NotingClock(ManualClock):
    """
    :ivar held: for each time that the clock was held, whether something might change.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: list[bool] = []

    @contextmanager
    def busy(self, *, changes: bool) -> Iterator[None]:
        self.held.append(changes)
        with super().busy(changes=changes):
            yield


class Harness:
    def __init__(self, repository: Locked) -> None:
        self.repository = repository
        self.plan = FaultPlan()
        self.clock = NotingClock()
        self.stored: list[Record] = []
        store = Store(FaultyRepository(repository, self.plan), self.clock, Observers(), {})
        self.recoveries = 0
        self.writer = Writer(store, self.clock, self.stored.append, self._recovered)

    def _recovered(self) -> None:
        self.recoveries += 1


@asynccontextmanager
async def harness(*locked: str) -> AsyncIterator[Harness]:
    made = Harness(Locked(*locked))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.writer.run)
        try:
            with anyio.fail_after(20):
                yield made
        finally:
            made.writer.stop()


async def test_each_sent_write_can_be_awaited() -> None:
    async with harness() as at:
        first, second = Put("q:a"), Put("q:b")
        await at.writer.send([first, second])
        assert at.writer.pending == 2
        for write in (first, second):
            await write.wait()
        assert [record.key for record in at.stored] == ["q:a", "q:b"]


async def test_store_returns_when_it_is_stored() -> None:
    async with harness() as at:
        await at.writer.store(Put())
        assert [record.key for record in at.stored] == ["q:x"]
        at.plan.script("swap", refuse(lambda record: True))
        with pytest.raises(RecordRefusedException):
            await at.writer.store(Put("q:y"))


async def test_a_write_gets_the_time_of_the_apps_clock() -> None:
    async with harness() as at:
        write = Put()
        await at.writer.store(write)
        assert write.asked == [at.clock.now()]


async def test_a_write_without_changes_is_done() -> None:
    async with harness() as at:
        nothing, something = Delete("q:a", fresh=False), Put("q:b")
        await at.writer.send([nothing, something])
        await nothing.wait()
        await something.wait()
        assert [record.key for record in at.stored] == ["q:b"]
        assert (len(nothing.asked), len(something.asked), at.recoveries) == (1, 1, 0)


async def test_a_write_that_has_ended_is_not_decided() -> None:
    """Later ones are."""
    async with harness() as at:
        ended, persistent = Put("q:b"), Put("q:c")
        persistent.persistent = True
        await at.writer.send([Stopping(at.writer), ended, persistent])
        with pytest.raises(RepositoryUnavailableException):
            await ended.wait()
        await anyio.wait_all_tasks_blocked()
        assert (len(ended.asked), len(persistent.asked)) == (0, 1)


@pytest.mark.parametrize("method", ["swap", "read"])
async def test_a_reply_with_too_few_results_is_a_failure(method: Method) -> None:
    """No reply is attributed to another write, and the batch is retried."""

    async def cut(call: Call) -> Any:
        return (await call())[:-1]

    async with harness() as at:
        await at.writer.store(Put("q:b"))
        at.plan.script(method, cut)
        writes = [Put(f"q:{key}", fresh=False) for key in "abc"]
        await at.writer.send(writes)
        await at.clock.advance(datetime.timedelta(seconds=1))
        for write in writes:
            await write.wait()
        assert (at.recoveries, [write.failures for write in writes]) == (1, [1, 1, 1])
        assert await at.repository.read([write.ref for write in writes]) == [write.known for write in writes]
        assert at.plan.calls["swap"] == 2


async def test_on_stored_is_called_even_if_the_reply_was_lost() -> None:
    async with harness() as at:
        at.plan.script("swap", lose_reply())
        write = Put()
        at.writer.submit(write)
        await at.clock.advance(datetime.timedelta(seconds=1))
        await write.wait()
        [record] = await at.repository.read([write.ref])
        assert record is not None
        assert (at.stored, write.known, at.repository.asked) == ([record], record, 1)


async def test_the_longest_delay_for_a_locked_record() -> None:
    """Random, from half of it to all of it."""
    async with harness(*(f"q:{number}" for number in range(20))) as at:
        began, writes = anyio.current_time(), [Put(f"q:{number}") for number in range(20)]
        for write in writes:
            write.busy = 20
        await at.writer.send(writes)
        while writes[-1].busy == 20:
            await anyio.lowlevel.checkpoint()
        now = anyio.current_time()
        assert all(write.not_before >= began + MAX_BUSY_DELAY / 2 for write in writes)
        assert all(write.not_before <= now + MAX_BUSY_DELAY for write in writes)
        assert len({write.not_before for write in writes}) > 1


async def test_without_a_lock_timeout_a_locked_record_is_refused_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LOCK_TIMEOUT", 0.0)
    async with harness("q:x") as at:
        with pytest.raises(RepositoryException, match=r"^'q:x' is locked by another transaction\.$"):
            await at.writer.store(Put())
        assert at.repository.asked == 1


async def test_waiting_for_a_lock_changes_nothing() -> None:
    """A clock that a test moves stands still, and wakes nothing."""
    async with harness("q:x") as at:
        write = Put()
        at.writer.submit(write)
        while write.busy < 3:  # noqa: ASYNC110 - nothing signals it
            await anyio.sleep(0.001)
        at.repository.locked.clear()
        await write.wait()
        assert at.clock.held.count(True) == at.repository.asked
        assert at.clock.held.count(False) > 3


@pytest.mark.parametrize("under_way", [False, True])
async def test_an_expiring_lease_cancels_the_attempt(caplog: pytest.LogCaptureFixture, under_way: bool) -> None:
    """Whether the write is part of it or arrives during it. It is retried, and the outage is logged."""
    clock, repository, plan = SystemClock(), MemoryRepository(), FaultPlan()
    plan.script("swap", delay(before=600))
    writer = Writer(Store(FaultyRepository(repository, plan), clock, Observers(), {}), clock)
    patient, urgent = Put("q:a"), Put("q:b")
    urgent.lease_ends = clock.now() + 1_000_000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        try:
            writer.submit(patient)
            if under_way:
                await anyio.wait_all_tasks_blocked()
            writer.submit(urgent)
            with anyio.fail_after(20):
                for write in (patient, urgent):
                    await write.wait()
        finally:
            writer.stop()
    assert (patient.failures, urgent.failures) == (1, 0 if under_way else 1)
    failed, works = (one.getMessage() for one in caplog.records if one.name == "pyncette._leases.store")
    assert failed.startswith("The storage failed in swap: The storage did not answer within ")
    assert works.startswith("The storage works again")
