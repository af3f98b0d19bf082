"""Group commit: when a batch is retried, who is notified, and which events observers get."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from pyncette._leases.store import Store
from pyncette._leases.writer import MAX_CONFLICTS, Writer
from pyncette._leases.writes import Awaited, Write
from pyncette.clock import SystemClock
from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.events import OperationStarted
from pyncette.memory import MemoryRepository
from pyncette.observer import Observer, Observers
from pyncette.record import Change, Record, Ref, Swap
from pyncette.testing import Call, FaultPlan, FaultyRepository, ManualClock, delay, fail, refuse

SECOND = 1_000_000


def record(key: str, revision: str = "r") -> Record:
    return Record("q", key, 1, 1, None, None, revision, 0, 0, "{}")


class Put(Awaited):
    """Creates the record, or writes it again."""

    made = 0

    def __init__(self, key: str = "q:x", *, persistent: bool = False, fresh: bool = True) -> None:
        super().__init__(Ref("q", key), None, fresh=fresh)
        self.persistent = persistent

    def decide(self, now: int) -> Change | None:
        Put.made += 1
        return Change(self.known, record(self.ref.key, f"r{Put.made}"))


class Delete(Put):
    def decide(self, now: int) -> Change | None:
        return None if self.known is None else Change(self.known, None)


class Recorder(Observer):
    """Records the context that storing calls carry."""

    def __init__(self) -> None:
        self.carried: list[tuple[str, ...]] = []

    def operation_started(self, event: OperationStarted, /) -> None:
        if event.operation == "swap":
            self.carried.append(tuple(event.carried))


class Harness:
    """A writer in virtual time, and its callbacks."""

    def __init__(self, repository: MemoryRepository | None = None) -> None:
        self.repository = repository or MemoryRepository()
        self.plan = FaultPlan()
        self.clock = ManualClock()
        self.observers = Observers()
        self.recorder = Recorder()
        self.observers.add(self.recorder)
        self.stored: list[Record] = []
        self.recoveries = 0
        store = Store(FaultyRepository(self.repository, self.plan), self.clock, self.observers, {})
        self.writer = Writer(store, self.clock, self.stored.append, self.recovered)

    def recovered(self) -> None:
        self.recoveries += 1

    async def settle(self, *writes: Write, seconds: float = 0) -> None:
        for write in writes:
            self.writer.submit(write)
        with anyio.fail_after(20):
            await self.clock.settle()
            for _ in range(int(seconds * 10)):
                await self.clock.advance_to(self.clock.time + TENTH)

    def attempts(self) -> list[int]:
        """The times of further attempts, all of which fail."""
        moments: list[int] = []

        async def note(call: Call) -> Any:
            moments.append(self.clock.now())
            return await fail()(call)

        self.plan.always(note, "swap", "read")
        return moments


TENTH = ManualClock().time.resolution * 100_000


@asynccontextmanager
async def harness(repository: MemoryRepository | None = None) -> AsyncIterator[Harness]:
    made = Harness(repository)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(made.writer.run)
        try:
            yield made
        finally:
            made.writer.stop()


async def test_attempts_slow_down_to_one_per_second() -> None:
    """Random, from half of each pause to all of it."""
    async with harness() as at:
        moments = at.attempts()
        await at.settle(Put(persistent=True), seconds=30)
        pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert len(pauses) > 30
        for number, pause in enumerate(pauses):
            most = min(100_000 * 2**number, SECOND)
            assert most // 2 <= pause <= most
        assert len(set(pauses[4:])) > 10


async def test_after_a_success_the_delays_start_over() -> None:
    async with harness() as at:
        at.attempts()
        await at.settle(Put(persistent=True), seconds=10)
        at.plan.clear()
        await at.settle(seconds=2)
        assert (at.writer.pending, at.recoveries) == (0, 1)
        moments = at.attempts()
        await at.settle(Put("q:y", persistent=True), seconds=1)
        assert 50_000 <= moments[1] - moments[0] <= 100_000


async def test_a_recovery_is_reported_once() -> None:
    async with harness() as at:
        await at.settle(Put("q:a"))
        assert at.recoveries == 0
        at.plan.script("swap", fail(), fail(), fail())
        await at.settle(Put("q:b", persistent=True), seconds=3)
        await at.settle(Put("q:c"))
        assert at.recoveries == 1


async def test_a_writer_without_callbacks() -> None:
    clock, repository = SystemClock(), MemoryRepository()
    plan = FaultPlan()
    plan.script("swap", fail())
    writer = Writer(Store(FaultyRepository(repository, plan), clock, Observers(), {}), clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        writer.submit(Put(persistent=True))
        with anyio.fail_after(10):
            await writer.drained()
        assert writer.stop() == 0
    assert len(await repository.read([Ref("q", "q:x")])) == 1


async def test_stored_records_are_reported_and_removed_ones_are_not() -> None:
    async with harness() as at:
        await at.settle(Put("q:b"), Put("q:a"))
        assert [one.key for one in at.stored] == ["q:a", "q:b"]
        await at.settle(Delete("q:a", fresh=False))
        assert len(at.stored) == 2
        assert await at.repository.read([Ref("q", "q:a")]) == [None]


async def test_a_batch_is_in_the_order_of_its_keys() -> None:
    """So that the writers of several processes lock records in the same order."""
    async with harness() as at:
        sent: list[list[str]] = []

        async def note(call: Call) -> Any:
            sent.append([change.ref.key for change in call.changes])
            return await call()

        at.plan.always(note, "swap")
        await at.settle(*(Put(f"q:{key}") for key in "cab"))
        assert sent == [["q:a", "q:b", "q:c"]]


async def test_the_context_that_calls_carry() -> None:
    """The carrier's context for the call, unless the write has its own; without duplicates."""
    async with harness() as at:
        given = iter(["two", "one", "one"])
        at.observers.carrier = lambda: next(given)
        own = Put("q:d")
        own.carried = "own"
        await at.settle(Put("q:a"), Put("q:b"), Put("q:c"), own)
        assert at.recorder.carried == [("one", "own", "two")]
        at.observers.carrier = None
        await at.settle(Put("q:e"))
        assert at.recorder.carried[1:] == [()]


async def test_the_clock_is_read_unless_it_is_hurried() -> None:
    for hurried in (False, True):
        async with harness() as at:
            at.writer.hurried = hurried
            await at.settle(Put())
            assert at.plan.calls["clock"] == (0 if hurried else 1)
            assert len(at.stored) == 1


async def test_only_outdated_records_are_read() -> None:
    async with harness() as at:
        first, second = Put("q:a"), Put("q:b", fresh=False)
        await at.settle(first, second)
        assert (first.was_read, second.was_read) == (False, True)
        assert at.plan.calls["read"] == 1
        await at.settle(Put("q:c"))
        assert at.plan.calls["read"] == 1


async def test_the_known_record_after_a_write() -> None:
    """The next write to the key is based on it."""
    async with harness() as at:
        write = Put()
        await at.settle(write)
        assert (write.done, write.fresh, write.sent, write.conflicts, write.failures) == (True, True, None, 0, 0)
        assert [write.known] == at.stored


async def test_overdue_while_an_attempt_takes_long() -> None:
    at = Harness()
    now = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(at.writer.run)
        at.plan.script("swap", delay(before=2))
        write = Put()
        at.writer.submit(write)
        for seconds, overdue in ((0.5, False), (1.5, True)):
            await anyio.sleep(now + seconds - anyio.current_time())
            assert (at.writer.overdue, at.writer.pending) == (overdue, 1)
        await write.wait()
        assert (at.writer.overdue, at.writer.pending) == (False, 0)
        at.writer.stop()


async def test_nothing_is_submitted_once_it_has_stopped() -> None:
    async with harness() as at:
        stops = [at.writer.stopped, at.writer.stop(), at.writer.stopped]
        assert stops == [False, 0, True]
        with pytest.raises(RuntimeError, match=r"^The app context is closed: use it inside its block, async with app"):
            at.writer.submit(Put())


async def test_stopping_notifies_only_waiting_callers() -> None:
    """A persistent write has no caller; a finished one is not notified twice."""
    async with harness() as at:
        at.attempts()
        persistent, transient = Put("q:a", persistent=True), Put("q:b")
        at.writer.submit(persistent)
        at.writer.submit(transient)
        assert at.writer.stop() == 2
        assert (persistent.done, transient.done) == (False, True)
        with pytest.raises(RepositoryUnavailableException, match=r"^The app was closed before the storage .*\.$"):
            await transient.wait()


async def test_a_caller_gets_the_error_of_the_second_attempt() -> None:
    async with harness() as at:
        errors = iter([RepositoryUnavailableException("first"), RepositoryUnavailableException("second")])
        at.plan.always(fail(lambda: next(errors)), "swap")
        write = Put()
        await at.settle(write, seconds=1)
        assert (write.done, write.failures) == (True, 2)
        with pytest.raises(RepositoryUnavailableException, match="second"):
            await write.wait()
        assert at.writer.pending == 0


async def test_repeated_conflicts_name_the_instance() -> None:
    async with harness() as at:
        await at.repository.swap([Change(None, record("q:x", "other"))])

        class Blind(Put):
            def decide(self, now: int) -> Change | None:
                Put.made += 1
                return Change(record(self.ref.key, "wrong"), record(self.ref.key, f"r{Put.made}"))

        write = Blind()
        await at.settle(write, seconds=1)
        assert write.conflicts == MAX_CONFLICTS + 1
        with pytest.raises(RepositoryException, match=r"^'q:x' is changed by others again and again\.$"):
            await write.wait()


async def test_a_refused_batch_is_bisected() -> None:
    """Until only the culprit is left. The others are stored in few requests."""
    async with harness() as at:
        at.plan.always(refuse(lambda one: one.key == "q:005"), "swap")
        await at.settle(*(Put(f"q:{number:03}") for number in range(64)))
        assert len(at.stored) == 63
        assert at.plan.calls["swap"] == 1 + 2 * 6


class Locked(MemoryRepository):
    """Another transaction has locked some records.

    :ivar asked: when storing each of them was attempted, in seconds of the event loop.
    """

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.locked = set(keys)
        self.asked: list[float] = []

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        self.asked += [anyio.current_time() for change in changes if change.ref.key in self.locked]
        free = iter(await super().swap([change for change in changes if change.ref.key not in self.locked]))
        return [Swap.BUSY if change.ref.key in self.locked else next(free) for change in changes]


async def test_locked_records_are_retried_less_and_less_often() -> None:
    """From a hundredth of a second up to once a second."""
    repository = Locked("q:x")
    async with harness(repository) as at:
        write = Put()
        at.writer.submit(write)
        await anyio.sleep(0.5)
        repository.locked.clear()
        await write.wait()
        assert write.busy == len(repository.asked)
    pauses = [later - earlier for earlier, later in itertools.pairwise(repository.asked)]
    assert 3 <= len(pauses) <= 7
    assert all(pause >= 0.005 * 2**number for number, pause in enumerate(pauses))


async def test_a_record_that_stays_locked_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyncette._leases.writer.LOCK_TIMEOUT", 0.2)
    repository = Locked("q:x")
    async with harness(repository) as at:
        began, write = anyio.current_time(), Put()
        at.writer.submit(write)
        with pytest.raises(RepositoryException, match=r"^'q:x' is locked by another transaction\.$"):
            await write.wait()
        assert 0.2 <= anyio.current_time() - began < 2
        assert write.busy > 1
