"""Group commit: what is sent together, in which order, and what happens when the storage fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from pyncette._leases import writer as writer_module
from pyncette._leases.store import Store
from pyncette._leases.writer import MAX_BATCH, MAX_CONFLICTS, Writer
from pyncette._leases.writes import Awaited, Write
from pyncette.clock import SystemClock
from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.events import BatchStored
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer, Observers
from pyncette.record import Change, Record, Ref, Swap
from pyncette.repository import Repository
from pyncette.testing import Call, FaultPlan, FaultyRepository, ManualClock, delay, fail, lose_reply, refuse

FIRST = Record("q", "q:x", 1, 1, None, None, "r0", 0, 0, "{}")


class Put(Awaited):
    """Creates the record, or increments its attempts."""

    made = 0

    def __init__(self, key: str = "q:x", *, persistent: bool = False) -> None:
        super().__init__(Ref("q", key), None)
        self.persistent = persistent
        self.decisions = 0

    def decide(self, now: int) -> Change | None:
        self.decisions += 1
        Put.made += 1
        revision = f"r{Put.made}"
        if self.known is None:
            return Change(None, replace(FIRST, key=self.ref.key, revision=revision, attempt=1))
        return Change(self.known, replace(self.known, revision=revision, attempt=self.known.attempt + 1))


class Delete(Awaited):
    def __init__(self) -> None:
        super().__init__(Ref("q", "q:x"), None, fresh=False)

    def decide(self, now: int) -> Change | None:
        return None if self.known is None else Change(self.known, None)


class Batches(Observer):
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def batch_stored(self, event: BatchStored, /) -> None:
        self.sizes.append(event.size)


class Harness:
    def __init__(self, repository: MemoryRepository | None = None) -> None:
        self.repository = repository or MemoryRepository()
        self.plan = FaultPlan()
        self.batches = Batches()
        observers = Observers()
        observers.add(self.batches)
        faulty: Repository = FaultyRepository(self.repository, self.plan)
        self.writer = Writer(Store(faulty, SystemClock(), observers, {}), SystemClock())

    async def attempts(self, key: str = "q:x") -> int | None:
        [record] = await self.repository.read([Ref("q", key)])
        return None if record is None else record.attempt

    async def put(self, *writes: Write) -> None:
        for write in writes:
            self.writer.submit(write)
        await self.writer.drained()


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with _harness() as harness:
        yield harness


@asynccontextmanager
async def _harness(repository: MemoryRepository | None = None) -> AsyncIterator[Harness]:
    harness = Harness(repository)
    async with anyio.create_task_group() as group:
        group.start_soon(harness.writer.run)
        try:
            yield harness
        except BaseException:
            harness.writer.stop()
            raise
        assert harness.writer.stop() == 0


async def test_writes_during_a_batch_are_sent_in_the_next(harness: Harness) -> None:
    harness.plan.script("swap", delay(before=0.01))
    harness.writer.submit(Put("q:first"))
    await anyio.wait_all_tasks_blocked()
    await harness.put(*(Put(f"q:{i}") for i in range(50)))
    assert harness.batches.sizes == [1, 50]


async def test_batches_have_a_bound(harness: Harness) -> None:
    await harness.put(*(Put(f"q:{i}") for i in range(MAX_BATCH + 1)))
    assert harness.batches.sizes == [MAX_BATCH, 1]


async def test_writes_to_one_key_are_stored_one_after_the_other(harness: Harness) -> None:
    await harness.put(Put(), Put("q:y"), Delete(), Put(), Put())
    assert await harness.attempts() == 2
    assert await harness.attempts("q:y") == 1


async def test_a_conflict_is_decided_again(harness: Harness) -> None:
    await harness.repository.swap([Change(None, FIRST)])
    write = Put()
    await harness.put(write)
    await write.wait()
    assert write.decisions == 2
    assert await harness.attempts() == 1


async def test_a_conflict_again_and_again(harness: Harness) -> None:
    async def rival(call: Call) -> object:
        [stored] = await harness.repository.read([FIRST.ref])
        await harness.repository.swap(
            [Change(stored, replace(stored or FIRST, revision=f"rival {call.method} {rivals}"))]
        )
        rivals.append(1)
        return await call()

    rivals: list[int] = []
    harness.plan.always(rival, "swap")
    write = Put()
    await harness.put(write)
    with pytest.raises(RepositoryException, match="again and again"):
        await write.wait()
    assert write.decisions == MAX_CONFLICTS + 1


async def test_a_lost_reply_is_found_out(harness: Harness) -> None:
    for _ in range(2):
        harness.plan.script("swap", lose_reply())
        write = Put()
        await harness.put(write)
        await write.wait()
    assert await harness.attempts() == 2


async def test_a_lost_reply_to_a_deletion(harness: Harness) -> None:
    await harness.put(Put())
    harness.plan.script("swap", lose_reply())
    write = Delete()
    await harness.put(write)
    await write.wait()
    assert await harness.attempts() is None


async def test_a_caller_gets_the_error_after_the_second_failure(harness: Harness) -> None:
    harness.plan.always(fail())
    persistent, transient = Put("q:persistent", persistent=True), Put("q:transient")
    harness.writer.submit(persistent)
    harness.writer.submit(transient)
    with pytest.raises(RepositoryUnavailableException):
        await transient.wait()
    assert harness.writer.pending == 1
    harness.plan.clear()
    await persistent.wait()
    assert await harness.attempts("q:persistent") == 1
    assert await harness.attempts("q:transient") is None


async def test_a_write_that_was_given_up_is_not_overdue(harness: Harness) -> None:
    """Otherwise nothing would be claimed or written, and the writer would never notice that the storage is back."""
    harness.plan.always(fail())
    write = Put()
    harness.writer.submit(write)
    while not harness.writer.overdue:  # noqa: ASYNC110 - nothing signals it
        await anyio.sleep(0.001)
    with pytest.raises(RepositoryUnavailableException):
        await write.wait()
    await harness.writer.drained()
    assert not harness.writer.overdue


async def test_a_refused_write_does_not_fail_the_others(harness: Harness) -> None:
    harness.plan.always(refuse(lambda record: record.key in {"q:13", "q:77"}), "swap")
    writes = [Put(f"q:{i}") for i in range(100)]
    await harness.put(*writes)
    refused = []
    for write in writes:
        try:
            await write.wait()
        except RecordRefusedException:
            refused.append(write.ref.key)
    assert refused == ["q:13", "q:77"]
    assert len([i for i in range(100) if await harness.attempts(f"q:{i}") == 1]) == 98


async def test_a_batch_that_was_stored_despite_an_error_is_not_stored_twice(harness: Harness) -> None:
    harness.plan.script("swap", lose_reply(lambda: ZeroDivisionError("a backend's bug")))
    writes = [Put(f"q:{i}") for i in range(10)]
    await harness.put(*writes)
    for write in writes:
        await write.wait()
    assert {await harness.attempts(f"q:{i}") for i in range(10)} == {1}


async def test_an_error_while_deciding_affects_only_its_write(harness: Harness) -> None:
    class Broken(Put):
        def decide(self, now: int) -> Change | None:
            raise ZeroDivisionError

    broken, sound = Broken("q:broken"), Put("q:sound")
    await harness.put(broken, sound)
    await sound.wait()
    with pytest.raises(ZeroDivisionError):
        await broken.wait()


async def test_cancelling_a_caller_does_not_cancel_the_write(harness: Harness) -> None:
    harness.plan.script("swap", delay(before=0.01))
    write = Put()
    harness.writer.submit(write)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await write.wait()
    assert scope.cancelled_caught
    await harness.writer.drained()
    assert await harness.attempts() == 1


async def test_stop_returns_how_many_writes_are_lost() -> None:
    harness = Harness()
    harness.plan.always(fail())
    async with anyio.create_task_group() as group:
        group.start_soon(harness.writer.run)
        for i in range(3):
            harness.writer.submit(Put(f"q:{i}", persistent=True))
        await anyio.wait_all_tasks_blocked()
        assert harness.writer.stop() == 3


async def test_a_caller_gets_an_error_when_the_writer_stops() -> None:
    harness = Harness()
    harness.plan.always(delay(before=600))
    under_way, waiting = Put("q:a"), Put("q:b")
    async with anyio.create_task_group() as group:
        group.start_soon(harness.writer.run)
        harness.writer.submit(under_way)
        await anyio.wait_all_tasks_blocked()
        harness.writer.submit(waiting)
        assert harness.writer.stop() == 2
        with anyio.fail_after(10):
            for write in (under_way, waiting):
                with pytest.raises(RepositoryUnavailableException, match="was closed"):
                    await write.wait()


async def test_the_writer_survives_cancellation_around_it() -> None:
    harness = Harness()
    async with anyio.create_task_group() as group:
        group.start_soon(harness.writer.run)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await harness.put(Put())
            assert await harness.attempts() == 1
            harness.writer.stop()


class Busy(MemoryRepository):
    """Another transaction has locked some keys."""

    def __init__(self) -> None:
        super().__init__()
        self.locked: set[str] = set()
        self.asked: list[list[str]] = []

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        self.asked.append([change.ref.key for change in changes])
        free = iter(await super().swap([change for change in changes if change.ref.key not in self.locked]))
        return [Swap.BUSY if change.ref.key in self.locked else next(free) for change in changes]


async def test_a_locked_record_is_retried_while_others_proceed() -> None:
    repository = Busy()
    repository.locked.add("q:x")
    async with _harness(repository) as harness:
        writer = harness.writer
        busy, second, other = Put(), Put(), Put("q:y")
        for write in (busy, second, other):
            writer.submit(write)
        await other.wait()
        later = Put("q:z")
        writer.submit(later)
        await later.wait()
        assert [write.done for write in (busy, second)] == [False, False]
        repository.locked.clear()
        await second.wait()
        assert [write.done for write in (busy, second)] == [True, True]
    (stored,) = await repository.read([FIRST.ref])
    assert stored is not None
    assert stored.attempt == 2, "in the order in which they were submitted"
    assert len(repository.asked) < 20, "it does not spin"


async def test_a_record_that_stays_locked_fails_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LOCK_TIMEOUT", 0.02)
    repository = Busy()
    repository.locked.add("q:x")
    async with _harness(repository) as harness:
        writer = harness.writer
        transient, persistent = Put(), Put(persistent=True)
        writer.submit(transient)
        with pytest.raises(RepositoryException, match="'q:x' is locked by another transaction"):
            await transient.wait()
        writer.submit(persistent)
        await anyio.sleep(0.05)
        assert not persistent.done
        repository.locked.clear()
        await persistent.wait()


async def test_a_locked_record_is_retried_even_if_the_clock_stands_still() -> None:
    """Other transactions end in real time. If a call waited for them in virtual time, it would hang forever."""
    repository = Busy()
    repository.locked.add("q:x")
    clock = ManualClock()
    observers = Observers()
    async with anyio.create_task_group() as tasks:
        writer = Writer(Store(repository, clock, observers, {}), clock)
        tasks.start_soon(writer.run)
        try:
            write = Put()
            writer.submit(write)
            while not repository.asked:
                await anyio.lowlevel.checkpoint()
            before = clock.now()
            repository.locked.clear()
            with anyio.fail_after(10):
                await clock.settle()
            assert write.done, "the clock does not settle while something waits for another transaction"
            assert clock.now() == before
        finally:
            writer.stop()
