"""The cache shared by all viewers stays within its budget of queries, and survives an unreachable storage."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from pyncette.errors import RepositoryUnavailableException
from pyncette_dashboard import cache as it
from pyncette_dashboard.cache import AnswerCache, BudgetExhausted, Question, Unreachable, _asked


class Storage:
    """A storage that counts its queries."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.cost = 1

    async def __call__(self) -> int:
        self.asked += 1
        _asked.get()[0] += self.cost
        await checkpoint()
        if self.down:
            raise RepositoryUnavailableException("connection refused")
        return self.asked


async def test_simultaneous_questions_share_one_query() -> None:
    storage = Storage()
    async with anyio.create_task_group() as group:
        cache = AnswerCache(group)
        async with anyio.create_task_group() as viewers:
            for _ in range(50):
                viewers.start_soon(cache.fresh, Question("key", storage))
        assert storage.asked == 1


async def test_two_queries_a_second_once_the_reserve_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    storage = Storage()
    async with anyio.create_task_group() as group:
        monkeypatch.setattr("pyncette_dashboard.cache.anyio.current_time", lambda: now)
        cache = AnswerCache(group)
        monkeypatch.setattr(it, "GLANCE", 10.0)
        storage.cost = 10
        for _ in range(100):
            await cache.get(Question("key", storage, 0))
        assert storage.asked == 10, "the reserve"
        for _ in range(60):
            now += 1.0
            for _ in range(20):
                await cache.get(Question("key", storage, 0))
        assert storage.asked - 10 == 12, "sixty seconds have 120 questions, ten at a time"


async def test_no_interval_exceeds_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if 300 new pages are opened at once, queries stay within two per second plus the reserve."""
    now = 1000.0
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await checkpoint()

    async def question() -> int:
        for _ in range(3):
            _asked.get()[0] += 1
            asked.append(now)
            await checkpoint()
        return 1

    async with anyio.create_task_group() as group:
        monkeypatch.setattr("pyncette_dashboard.cache.anyio.current_time", lambda: now)
        monkeypatch.setattr("pyncette_dashboard.cache.anyio.sleep", sleep)
        cache = AnswerCache(group)
        async with anyio.create_task_group() as viewers:
            for page in range(300):
                viewers.start_soon(cache.fresh, Question(page, question, costs=3))
    assert len(asked) == 900
    assert asked[-1] - asked[0] > 390, "800 beyond the reserve"
    moved = 3  # queries start after their budget is taken; on trio, the clock may move meanwhile
    for first, begin in enumerate(asked):
        for last in range(first, len(asked), 7):
            assert last - first + 1 <= it.RATE * (asked[last] - begin + moved) + it.RESERVE + 2


async def test_a_new_page_comes_before_refreshes() -> None:
    storage = Storage()
    async with anyio.create_task_group() as group:
        cache = AnswerCache(group)
        storage.cost = 102
        assert await cache.fresh(Question("first", storage)) == 1
        assert await cache.fresh(Question("first", storage, 0)) == 1, "the budget is spent"
        assert cache.begin(Question("third", storage), must=False).asking is None
        assert await cache.fresh(Question("second", storage)) == 2, "when it is its turn"


async def test_a_page_that_gets_no_answer_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it, "TIMEOUT", 0.05)
    storage = Storage()
    async with anyio.create_task_group() as group:
        cache = AnswerCache(group)
        storage.cost = 200
        assert await cache.fresh(Question("first", storage)) == 1
        with pytest.raises(BudgetExhausted):
            await cache.fresh(Question("second", storage))
        group.cancel_scope.cancel()


async def test_changes_by_this_dashboard_are_queried_at_once() -> None:
    storage = Storage()
    async with anyio.create_task_group() as group:
        cache = AnswerCache(group)
        assert await cache.fresh(Question("key", storage, 60)) == 1
        assert await cache.fresh(Question("key", storage, 60)) == 1
        cache.forget()
        assert await cache.fresh(Question("key", storage, 60)) == 2


async def test_the_storage_becomes_unreachable_and_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it, "PROBE", 0.0)
    storage = Storage()
    async with anyio.create_task_group() as group:
        cache = AnswerCache(group)
        assert await cache.fresh(Question("key", storage, 0)) == 1
        storage.down = True
        assert await cache.fresh(Question("key", storage, 0)) == 1, "what was known before"
        assert cache.trouble is not None
        assert cache.trouble.error == "connection refused"
        since = cache.trouble.since
        with pytest.raises(Unreachable, match="connection refused"):
            await cache.fresh(Question("other", storage))
        assert cache.trouble.since == since
        storage.down = False
        assert await cache.fresh(Question("key", storage, 0)) > 1
        assert cache.trouble is None


async def test_an_unreachable_storage_is_queried_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    storage = Storage()
    async with anyio.create_task_group() as group:
        monkeypatch.setattr("pyncette_dashboard.cache.anyio.current_time", lambda: now)
        cache = AnswerCache(group)
        storage.down = True
        for place in range(100):
            now += 0.1
            with pytest.raises(Unreachable):
                await cache.fresh(Question(place, storage))
        assert 9 <= storage.asked <= 11


async def test_errors_are_raised_and_not_cached() -> None:
    async def refuse() -> None:
        raise LookupError("no such task")

    storage = Storage()
    async with anyio.create_task_group() as group:
        cache = AnswerCache(group)
        with pytest.raises(LookupError, match="no such task"):
            await cache.fresh(Question("key", refuse))
        assert await cache.fresh(Question("key", storage)) == 1


async def test_old_answers_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it, "MOST", 10)
    async with anyio.create_task_group() as group:
        cache = AnswerCache(group)
        for place in range(50):
            await cache.fresh(Question(place, Storage()))
        assert cache.age(49) < 60
        assert cache.age(0) == float("inf")
