"""The cache that all viewers share asks no more than it may, and outlives a storage that is down."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from pyncette.errors import RepositoryUnavailableException
from pyncette_dashboard import board as it
from pyncette_dashboard.board import Board, Unreachable, _asked


class Storage:
    """Counts how often it is asked."""

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


async def test_many_ask_at_once_and_the_storage_is_asked_once() -> None:
    storage = Storage()
    async with anyio.create_task_group() as group:
        board = Board(group)
        async with anyio.create_task_group() as viewers:
            for _ in range(50):
                viewers.start_soon(board.fresh, "key", storage)
        assert storage.asked == 1


async def test_two_a_second_once_the_reserve_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    storage = Storage()
    async with anyio.create_task_group() as group:
        monkeypatch.setattr("pyncette_dashboard.board.anyio.current_time", lambda: now)
        board = Board(group)
        monkeypatch.setattr(it, "GLANCE", 10.0)
        storage.cost = 10
        for _ in range(100):
            await board.get("key", storage, every=0)
        assert storage.asked == 10, "the reserve"
        for _ in range(60):
            now += 1.0
            for _ in range(20):
                await board.get("key", storage, every=0)
        assert storage.asked - 10 == 12, "sixty seconds have 120 questions, ten at a time"


async def test_a_page_that_has_no_answer_yet_asks_and_others_pay() -> None:
    storage = Storage()
    async with anyio.create_task_group() as group:
        board = Board(group)
        storage.cost = 150
        assert await board.fresh("first", storage) == 1
        assert await board.fresh("second", storage) == 2
        assert await board.fresh("first", storage, every=0) == 1, "the budget is spent"
        assert (await board.get("third", storage, must=False, wait=0)).at is None


async def test_what_was_changed_from_here_is_asked_for_at_once() -> None:
    storage = Storage()
    async with anyio.create_task_group() as group:
        board = Board(group)
        assert await board.fresh("key", storage, every=60) == 1
        assert await board.fresh("key", storage, every=60) == 1
        board.forget()
        assert await board.fresh("key", storage, every=60) == 2


async def test_the_storage_goes_away_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it, "PROBE", 0.0)
    storage = Storage()
    async with anyio.create_task_group() as group:
        board = Board(group)
        assert await board.fresh("key", storage, every=0) == 1
        storage.down = True
        assert await board.fresh("key", storage, every=0) == 1, "what was known before"
        assert board.trouble is not None
        assert board.trouble.error == "connection refused"
        since = board.trouble.since
        with pytest.raises(Unreachable, match="connection refused"):
            await board.fresh("other", storage)
        assert board.trouble.since == since
        storage.down = False
        assert await board.fresh("key", storage, every=0) > 1
        assert board.trouble is None


async def test_while_it_is_away_it_is_asked_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    storage = Storage()
    async with anyio.create_task_group() as group:
        monkeypatch.setattr("pyncette_dashboard.board.anyio.current_time", lambda: now)
        board = Board(group)
        storage.down = True
        for place in range(100):
            now += 0.1
            with pytest.raises(Unreachable):
                await board.fresh(place, storage)
        assert 9 <= storage.asked <= 11


async def test_what_is_refused_is_raised_and_not_kept() -> None:
    async def refuse() -> None:
        raise LookupError("no such task")

    storage = Storage()
    async with anyio.create_task_group() as group:
        board = Board(group)
        with pytest.raises(LookupError, match="no such task"):
            await board.fresh("key", refuse)
        assert await board.fresh("key", storage) == 1


async def test_old_answers_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it, "MOST", 10)
    async with anyio.create_task_group() as group:
        board = Board(group)
        for place in range(50):
            await board.fresh(place, Storage())
        assert board.age(49) < 60
        assert board.age(0) == float("inf")
