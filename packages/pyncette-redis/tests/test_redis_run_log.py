"""The log of runs: stored with the records of its queue, and read in bounded steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pyncette.record import Change, RunLine, RunQuestion, Swap
from pyncette.redis import run_log
from pyncette.repository import Repository
from pyncette.testing.contract.base import NOW, fresh, record
from tests.helpers import redis as helpers
from tests.servers.model import Server

pytestmark = pytest.mark.anyio


def line(number: int, *, queue: str = "task", key: str = "", **fields: Any) -> RunLine:
    values = {"outcome": "succeeded", "text": "{}", **fields}
    return RunLine(f"{number:06}", queue, key or f"{queue}:{number}", NOW + number, **values)


async def log(repository: Repository, lines: list[RunLine]) -> None:
    changes = [Change(None, record(one.queue, key=one.key), one) for one in lines]
    assert await repository.swap(changes) == [Swap.APPLIED] * len(changes)


@asynccontextmanager
async def opened(server: Server, namespace: str) -> AsyncIterator[Repository]:
    async with helpers.opened(server, redis_namespace=namespace) as repository:
        yield repository


async def test_a_script_looks_at_a_bounded_number_of_lines(
    redis_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that don't match the query are skipped in several steps, and all that match are found."""
    monkeypatch.setattr(run_log, "LOOKED_AT", 1)
    lines = [line(number, outcome="failed" if number % 150 == 7 else "succeeded") for number in range(1000)]
    async with opened(redis_server, namespace) as repository:
        await log(repository, lines)
        failed = [one for one in lines if one.outcome == "failed"][::-1]
        assert await repository.runs(RunQuestion(outcomes=["failed"], limit=100)) == failed
        assert await repository.runs(RunQuestion(outcomes=["failed"], limit=3)) == failed[:3]
        assert await repository.runs(RunQuestion(key="task:3", limit=3)) == [lines[3]]


@pytest.mark.parametrize("kind", ["redis_server", "redis_cluster"])
async def test_lines_of_many_queues(
    kind: str, namespace: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Logs are queried and pruned page by page, on whichever server they are, including those of static tasks."""
    monkeypatch.setattr(run_log, "QUEUES", 3)
    lines = [line(number, queue=f"task{number % 11}") for number in range(40)]
    lines += [line(number, queue=f"static{number}", key=f"static{number}") for number in range(40, 45)]
    async with opened(request.getfixturevalue(kind), namespace) as repository:
        await log(repository, lines)
        assert await repository.runs(RunQuestion(limit=100)) == lines[::-1]
        assert await repository.runs(RunQuestion(limit=7)) == lines[::-1][:7]
        chosen = [one for one in lines if one.queue in {"task3", "static41"}][::-1]
        assert await repository.runs(RunQuestion(queues=["static41", "task3"], limit=100)) == chosen
        assert await repository.prune_runs(before=NOW + 30, limit=20) == 20
        assert await repository.prune_runs(before=NOW + 30, limit=20) == 10
        assert await repository.runs(RunQuestion(limit=100)) == lines[:29:-1]


async def test_a_damaged_line_does_not_hide_others(redis_server: Server, namespace: str) -> None:
    async with opened(redis_server, namespace) as repository:
        await log(repository, [line(1), line(2)])
        client = repository._client  # type: ignore[attr-defined]  # what no user does
        for broken in ("", "x", "x\0", "x\0" + 11 * "\xff"):
            await client.plain(0, "ZADD", f"pyncette:{{{namespace}|task}}:runs", str(NOW + 3), broken)
        for question in ({}, {"key": "task:1"}, {"outcomes": ["succeeded"]}, {"containing": "{"}):
            found = await repository.runs(RunQuestion(limit=10, **question))
            assert {one.id for one in found} <= {"000001", "000002"}
            assert "000001" in {one.id for one in found}
        assert await repository.prune_runs(before=NOW + 10, limit=100) == 6


async def test_a_change_without_a_line_costs_nothing_extra(redis_server: Server, namespace: str) -> None:
    """A settlement without a line sends no command and no key for the log."""
    async with opened(redis_server, namespace) as repository:
        one = record()
        assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
        assert await repository.swap([Change(one, record(revision=fresh()))]) == [Swap.APPLIED]
        client = repository._client  # type: ignore[attr-defined]  # what no user does
        assert await client.plain(0, "EXISTS", f"pyncette:{{{namespace}|task}}:runs") == 0
