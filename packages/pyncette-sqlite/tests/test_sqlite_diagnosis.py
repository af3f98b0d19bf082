"""What the diagnosis of a database finds. The tests cause each fault for real."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pyncette.findings import Finding
from pyncette.record import Change, Record
from pyncette.repository import Repository
from pyncette.sqlite import diagnosis, sqlite_repository


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "pyncette.db"


@pytest.fixture
async def repository(database: Path) -> AsyncIterator[Repository]:
    async with sqlite_repository(sqlite_database=database) as repository:
        yield repository


@pytest.fixture
def other(database: Path, repository: Repository) -> Iterator[sqlite3.Connection]:
    """A connection of another program."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        yield connection


async def insert(repository: Repository, count: int) -> None:
    records = [Record("task", f"task:{n}", 1, 1, None, None, "r", 0, 0, "x" * 5000) for n in range(count)]
    await repository.swap([Change(None, record) for record in records])


async def bad(repository: Repository) -> dict[str, Finding]:
    """The findings that are not OK, by the name of the check."""
    return {each.check: each for each in await repository.diagnose() if each.verdict != "ok"}


async def test_a_healthy_database(repository: Repository) -> None:
    await insert(repository, 10)
    found = {each.check: each for each in await repository.diagnose()}
    assert found.pop("disk")
    assert {each.verdict for each in found.values()} == {"ok"}, found
    assert found.keys() == {
        *("server", "indexes", "format", "bloat", "permissions", "persistence", "transactions"),
    }


async def test_in_memory() -> None:
    async with sqlite_repository() as repository:
        assert (await bad(repository)).keys() == {"persistence"}


async def test_an_index_that_lacks_a_row(repository: Repository, other: sqlite3.Connection) -> None:
    """As after a disk error: the index does not match its definition."""
    await insert(repository, 10)
    (page,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pyncette_tasks_ready'").fetchone()
    other.execute("CREATE INDEX emptier ON pyncette_tasks (queue, ready_at) WHERE key = 'task:1'")
    (small,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'emptier'").fetchone()
    other.execute("PRAGMA writable_schema = ON")
    swap = "UPDATE sqlite_schema SET rootpage = CASE rootpage WHEN ? THEN ? ELSE ? END WHERE rootpage IN (?, ?)"
    other.execute(swap, (page, small, page, page, small))
    other.execute("PRAGMA writable_schema = RESET")
    found = (await bad(repository))["indexes"]
    assert found.verdict == "problem"
    assert "pyncette_tasks_ready" in found.found
    other.execute("REINDEX")
    assert "indexes" not in await bad(repository)


async def test_a_file_that_is_too_large_to_be_checked(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "CHECKING", -1.0)
    monkeypatch.setattr(diagnosis, "_STEPS", 1)
    assert (await bad(repository))["indexes"].verdict == "unknown"


async def test_a_file_that_is_mostly_empty(
    repository: Repository, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "FREE", 100_000)
    await insert(repository, 100)
    other.execute("DELETE FROM pyncette_tasks")
    assert (await bad(repository))["bloat"].verdict == "warning"
    other.execute("VACUUM")
    assert "bloat" not in await bad(repository)


async def test_a_reader_that_keeps_the_log_from_ending(
    repository: Repository, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "LARGE_LOG", 300_000)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM pyncette_tasks").fetchone()
    await insert(repository, 100)
    assert (await bad(repository))["transactions"].verdict == "warning"


async def test_little_room(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LITTLE", 2**63)
    assert (await bad(repository))["disk"].verdict == "warning"


async def test_a_newer_release_has_expanded_it(repository: Repository, other: sqlite3.Connection) -> None:
    other.execute("UPDATE pyncette_schema SET written_by = 2")
    assert (await bad(repository))["format"].verdict == "warning"
