"""The log of runs: written after the changes that carry its lines, so that it can't make them fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from pyncette.dynamodb import run_log
from pyncette.dynamodb.statements import carry_out
from pyncette.errors import RepositoryUnavailableException
from pyncette.record import Change, RunLine, RunQuestion, Swap
from pyncette.repository import Repository
from tests.helpers.dynamodb import NOW, record

pytestmark = pytest.mark.anyio

Factory = Callable[..., AbstractAsyncContextManager[Repository]]


def line(number: int, *, queue: str = "task", key: str = "") -> RunLine:
    return RunLine(f"{number:06}", queue, key or f"{queue}:{number}", NOW + number, "succeeded", "{}")


async def log(repository: Repository, lines: list[RunLine]) -> list[Swap]:
    named = [(one, one.key if one.key == one.queue else one.key.removeprefix(f"{one.queue}:")) for one in lines]
    return await repository.swap([Change(None, record(name, queue=one.queue), one) for one, name in named])


async def test_lines_of_many_queues(direct: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are queried and pruned page by page, including those of static tasks and partitions."""
    monkeypatch.setattr(run_log, "QUEUES", 3)
    lines = [line(number, queue=f"task:{number % 5}" if number % 2 else "other") for number in range(20)]
    lines += [line(number, queue=f"static{number}", key=f"static{number}") for number in range(20, 23)]
    async with direct() as repository:
        assert await log(repository, lines) == [Swap.APPLIED] * len(lines)
        assert await repository.runs(RunQuestion(limit=100)) == lines[::-1]
        assert await repository.runs(RunQuestion(limit=4)) == lines[::-1][:4]
        assert await repository.runs(RunQuestion(limit=4, outcomes=["succeeded"])) == lines[::-1][:4]
        assert await repository.prune_runs(before=NOW + 15, limit=10) == 10
        assert await repository.prune_runs(before=NOW + 15, limit=10) == 5
        assert await repository.runs(RunQuestion(limit=100)) == lines[:14:-1]


async def test_a_line_that_can_not_be_written_does_not_affect_the_change(
    direct: Factory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The change is applied and reported as such; the loss of the line is logged."""
    sent = 0

    async def failing(database: Any, statements: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        outcomes = await carry_out(database, [], **options)
        outcomes.fail(RepositoryUnavailableException("out of reach, says the test"))
        return outcomes

    monkeypatch.setattr(run_log, "carry_out", failing)
    async with direct() as repository:
        with caplog.at_level(logging.WARNING, "pyncette.dynamodb.run_log"):
            assert await log(repository, [line(1)]) == [Swap.APPLIED]
        assert sent == 1
        assert "out of reach" in caplog.text
        assert await repository.runs(RunQuestion(limit=10)) == []
