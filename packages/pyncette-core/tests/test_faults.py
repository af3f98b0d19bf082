"""The scripted faults work as documented, because other tests rely on them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from pyncette.errors import RecordRefusedException, RepositoryUnavailableException
from pyncette.memory import MemoryRepository, memory_repository
from pyncette.record import Change, Queue, QueueClaim, Record, RunQuestion, Swap
from pyncette.repository import Repository
from pyncette.testing import Call, FaultPlan, FaultyRepository, cancel_at, delay, fail, lose_reply, refuse
from pyncette.testing.faults import METHODS, at_checkpoint


def record(name: str = "a", revision: str = "r") -> Record:
    return Record("task", f"task:{name}", 0, 0, None, None, revision, 0, 0, "{}")


@pytest.fixture
def inner() -> MemoryRepository:
    return MemoryRepository()


@pytest.fixture
def faulty(inner: MemoryRepository) -> FaultyRepository:
    return FaultyRepository(inner)


async def call_everything(repository: Repository) -> list[object]:
    one = record()
    claims = [QueueClaim(Queue("task"), 5, 9)]
    return [
        await repository.swap([Change(None, one)]),
        await repository.read([one.ref]),
        await repository.look([Queue("task")], [one.ref], after=-1),
        await repository.scan_ready(Queue("task"), limit=5),
        await repository.queues(after=None, limit=5),
        await repository.count(Queue("task")),
        await repository.runs(RunQuestion(limit=5)),
        await repository.prune_runs(before=0, limit=5),
        await repository.diagnose(),
        await repository.scan(Queue("task"), after=None, limit=5),
        await repository.clock(),
        await repository.claim(claims, now=0, limit=5, token="t", holder="h"),
    ]


async def test_without_faults_all_calls_are_forwarded(faulty: FaultyRepository) -> None:
    assert await call_everything(faulty) == await call_everything(MemoryRepository())
    assert faulty.plan.calls == dict.fromkeys((*METHODS, "runs", "prune_runs", "diagnose"), 1)


async def test_every_method_can_fail(faulty: FaultyRepository) -> None:
    faulty.plan.always(fail())
    one, claims = record(), [QueueClaim(Queue("task"), 5, 9)]
    for call in (
        functools.partial(faulty.swap, [Change(None, one)]),
        functools.partial(faulty.read, [one.ref]),
        functools.partial(faulty.look, [Queue("task")], [one.ref]),
        functools.partial(faulty.scan_ready, Queue("task"), limit=5),
        functools.partial(faulty.queues, after=None, limit=5),
        functools.partial(faulty.count, Queue("task")),
        functools.partial(faulty.runs, RunQuestion(limit=5)),
        functools.partial(faulty.prune_runs, before=0, limit=5),
        faulty.diagnose,
        functools.partial(faulty.scan, Queue("task"), after=None, limit=5),
        functools.partial(faulty.claim, claims, now=0, limit=5, token="t", holder="h"),
        faulty.clock,
    ):
        with pytest.raises(RepositoryUnavailableException):
            await call()
    faulty.plan.clear()
    await call_everything(faulty)


async def test_a_failure_changes_nothing(inner: MemoryRepository, faulty: FaultyRepository) -> None:
    faulty.plan.script("swap", fail(lambda: RecordRefusedException("mine")))
    with pytest.raises(RecordRefusedException, match="mine"):
        await faulty.swap([Change(None, record())])
    assert await inner.read([record().ref]) == [None]


async def test_a_lost_reply_changes_everything(inner: MemoryRepository, faulty: FaultyRepository) -> None:
    faulty.plan.script("swap", lose_reply())
    with pytest.raises(RepositoryUnavailableException):
        await faulty.swap([Change(None, record())])
    assert await inner.read([record().ref]) == [record()]


async def test_faults_come_in_their_order(faulty: FaultyRepository) -> None:
    faulty.plan.script("clock", None, fail())
    faulty.plan.script("clock", None)
    faulty.plan.always(fail(LookupError), "clock")
    assert await faulty.clock() is None
    with pytest.raises(RepositoryUnavailableException):
        await faulty.clock()
    assert await faulty.clock() is None
    with pytest.raises(LookupError):
        await faulty.clock()


async def test_a_delay_on_either_side(inner: MemoryRepository, faulty: FaultyRepository) -> None:
    faulty.plan.script("swap", delay(before=0.01), delay(after=3600))
    started = anyio.current_time()
    assert await faulty.swap([Change(None, record("a"))]) == [Swap.APPLIED]
    assert anyio.current_time() - started >= 0.01
    with anyio.move_on_after(0.01) as scope:
        await faulty.swap([Change(None, record("b"))])
    assert scope.cancelled_caught
    assert await inner.read([record("b").ref]) == [record("b")]


async def test_a_culprit_is_refused_with_its_batch(inner: MemoryRepository, faulty: FaultyRepository) -> None:
    faulty.plan.always(refuse(lambda one: one.key == "task:b"), "swap")
    with pytest.raises(RecordRefusedException, match="task:b"):
        await faulty.swap([Change(None, record("a")), Change(None, record("b"))])
    assert await inner.read([record("a").ref]) == [None]
    assert await faulty.swap([Change(None, record("a"))]) == [Swap.APPLIED]
    assert await faulty.swap([Change(record("a"), None)]) == [Swap.APPLIED]


class Waiting(MemoryRepository):
    """Waits before and after it reads."""

    steps = 0

    async def clock(self) -> int | None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            self.steps += 1
        return self.steps


@pytest.mark.parametrize("checkpoint, steps", [(1, 0), (2, 1), (3, 2)])
async def test_cancelled_at_a_checkpoint(checkpoint: int, steps: int) -> None:
    inner = Waiting()
    faulty = FaultyRepository(inner)
    with anyio.CancelScope() as scope:
        faulty.plan.script("clock", cancel_at(checkpoint, scope))
        await faulty.clock()
    assert scope.cancelled_caught
    assert inner.steps == steps


async def test_a_checkpoint_that_is_not_reached() -> None:
    with anyio.CancelScope() as scope:
        faulty = FaultyRepository(Waiting())
        faulty.plan.script("clock", cancel_at(4, scope))
        assert await faulty.clock() == 3
    assert not scope.cancel_called


async def test_errors_reach_a_stepped_coroutine() -> None:
    caught: list[BaseException] = []

    async def body() -> str:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            caught.append(error)
            raise
        return "never"

    with anyio.move_on_after(0) as scope:
        await at_checkpoint(99, lambda: None, body())
    assert scope.cancelled_caught
    assert len(caught) == 1


async def test_a_custom_fault(faulty: FaultyRepository) -> None:
    async def twice(call: Call) -> Any:
        await call()
        return await call()

    faulty.plan.script("swap", twice)
    assert await faulty.swap([Change(None, record())]) == [Swap.CONFLICT]


async def test_a_wrapped_factory_keeps_its_options() -> None:
    @asynccontextmanager
    async def repository(*, mine_url: str = "x") -> AsyncIterator[Repository]:
        yield MemoryRepository()

    plan = FaultPlan()
    wrapped = plan.wrap(repository)
    assert inspect.signature(wrapped) == inspect.signature(repository)
    plan.script("clock", fail())
    async with wrapped(mine_url="y") as first, wrapped() as second:
        assert (await second.look([], ())).next_ready is None
        with pytest.raises(RepositoryUnavailableException):
            await first.clock()
        assert await second.clock() is None
    assert plan.calls["clock"] == 2


async def test_a_wrapped_factory_that_is_a_partial() -> None:
    async with FaultPlan().wrap(functools.partial(memory_repository))() as repository:
        assert isinstance(repository, FaultyRepository)
