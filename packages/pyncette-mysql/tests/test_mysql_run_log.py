"""The log of runs is queried and pruned by its indexes, and appended to in the transaction of the settlement."""

# ruff: noqa: S608 -- the statements are made of constants

from __future__ import annotations

from typing import Any

import anyio
import pytest

from pyncette.errors import RepositoryException
from pyncette.mysql import MySQLRepository
from pyncette.record import Change, RunLine, RunQuestion, Swap
from pyncette.repository import Repository
from tests.helpers.mysql import NOW, Store, fresh, insert, record

pytestmark = pytest.mark.anyio

LINES = 20_000

# One in 500 has failed.
FILL = f"""
INSERT INTO {{table}}_runs (ended_at, id, queue, `key`, outcome, text)
SELECT {NOW} + n DIV 10, LPAD(n, 9, '0'), CONCAT('task', n % 20), CONCAT('task', n % 20, ':', n % 200),
    IF(n % 500 = 7, 'failed', 'succeeded'), '{{{{}}}}'
FROM (
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
    SELECT few.n * 1000 + many.n - 1000 AS n FROM numbers AS many JOIN numbers AS few ON few.n <= {LINES // 1000}
) AS filling
"""

QUESTIONS: dict[str, dict[str, Any]] = {
    "all": {},
    "of a page": {"after": (NOW + 900, "000009003")},
    "of a range": {"since": NOW + 500, "before": NOW + 600},
    "of a task": {"queues": ["task3"]},
    "of a task's partitions": {"queues": [f"task{n}" for n in range(5)]},
    "of an instance": {"key": "task3:3"},
    "failed": {"outcomes": ["failed", "late"]},
    "failed of a task": {"queues": ["task7"], "outcomes": ["failed"]},
}


def line(id: str, ended_at: int = NOW) -> RunLine:  # noqa: A002 - the field's name
    return RunLine(id, "task", "task:one", ended_at, "succeeded", "{}")


async def rows_read(repository: Repository) -> int:
    """How many rows the only connection's statements have read so far, including those of temporary tables."""
    assert isinstance(repository, MySQLRepository)
    (rows,) = await repository._database.run("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(value) for _, value in rows)


async def test_questions_are_answered_from_indexes(store: Store) -> None:
    """However long the log is, a page reads few more lines than it shows, and pruning few more than it deletes."""
    shown = 10
    async with store.open(mysql_pool_size=1) as repository:
        await store.ask(FILL.format(table=store.table))
        for name, question in QUESTIONS.items():
            before = await rows_read(repository)
            assert len(await repository.runs(RunQuestion(**question, limit=shown))) == shown, name
            # The result of a union is read again.
            parts = len(question.get("queues", "1")) * len(question.get("outcomes", "1"))
            assert 0 < await rows_read(repository) - before <= (3 * shown + 10) * parts, name
        before = await rows_read(repository)
        assert await repository.prune_runs(before=NOW + 1_000, limit=500) == 500
        assert await rows_read(repository) - before <= 6 * 500


async def test_a_deletion_of_a_locked_record(store: Store) -> None:
    """It is busy and logs no line. Once it is applied, it logs one."""
    one, other = record("one"), record("two")
    async with store.open() as repository, store.connect() as somebody:
        await insert(repository, [one, other])
        await store.send(somebody, f"START TRANSACTION; UPDATE {store.table} SET fence = 7 WHERE `key` = 'task:one'")
        batch = [Change(one, None, line("1")), Change(other, None, line("2"))]
        assert await repository.swap(batch) == [Swap.BUSY, Swap.APPLIED]
        assert [found.id for found in await repository.runs(RunQuestion(limit=10))] == ["2"]
        await store.send(somebody, "ROLLBACK")
        assert await repository.swap(batch[:1]) == [Swap.APPLIED]
        assert [found.id for found in await repository.runs(RunQuestion(limit=10))] == ["2", "1"]


async def test_a_settlement_that_waits_for_its_line(store: Store) -> None:
    """Another transaction is writing the same line, and does not end: nothing is applied, and the call fails."""
    one = record("one")
    values = "'1', 'task', 'task:one', 'succeeded', ''"
    async with store.open() as repository, store.connect() as somebody:
        await insert(repository, [one])
        await store.send(
            somebody,
            f"START TRANSACTION; INSERT INTO {store.table}_runs (ended_at, id, queue, `key`, outcome, text) "
            f"VALUES ({NOW}, {values})",
        )
        with anyio.fail_after(10), pytest.raises(RepositoryException):
            await repository.swap([Change(one, record("one"), line("1"))])
        assert await repository.read([one.ref]) == [one]
        await store.send(somebody, "ROLLBACK")
        assert await repository.swap([Change(one, record("one"), line("1"))]) == [Swap.APPLIED]


async def test_pruning_skips_locked_lines(store: Store) -> None:
    """It never waits, and claims and settlements never wait for it."""
    async with store.open() as repository, store.connect() as somebody:
        changes = [Change(None, record(fresh()), line(str(n), NOW + n)) for n in range(6)]
        assert await repository.swap(changes) == [Swap.APPLIED] * 6
        await store.send(
            somebody, f"START TRANSACTION; DELETE FROM {store.table}_runs WHERE ended_at = {NOW} AND id = '0'"
        )
        with anyio.fail_after(0.9):
            assert await repository.prune_runs(before=NOW + 5, limit=10) == 4
        await store.send(somebody, "ROLLBACK")
        assert [found.id for found in await repository.runs(RunQuestion(limit=10))] == ["5", "0"]


@pytest.mark.parametrize(
    "change, words",
    [
        ("DROP TABLE {}", "its log of runs, the table whose name ends in _runs, is missing"),
        ("ALTER TABLE {} DROP INDEX instance", "of its log of runs, index instance is on nothing"),
        ("ALTER TABLE {} MODIFY text TEXT", "of its log of runs, column text is text, not longtext"),
    ],
)
async def test_a_log_with_another_definition(store: Store, change: str, words: str) -> None:
    """A table with another definition is refused when it is opened, not when the first run ends."""
    async with store.open():
        pass
    await store.ask(change.format(f"{store.table}_runs"))
    with pytest.raises(RepositoryException, match=words):
        async with store.open():
            pass
