"""Options and URLs are checked before anything is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pyncette.errors import RepositoryException
from pyncette.sqlite import backend, sqlite_repository
from pyncette.testing.contract.base import next_ready


@pytest.mark.parametrize(
    "options, error, hint",
    [
        ({"sqlite_database": ""}, ValueError, ":memory:"),
        ({"sqlite_database": "a\0b"}, ValueError, "NUL"),
        ({"sqlite_database": "~/a.db"}, ValueError, "expanduser"),
        ({"sqlite_database": "file:a.db?mode=ro"}, ValueError, "not a file: URI"),
        ({"sqlite_database": "sqlite:///a.db"}, ValueError, "repository_factory"),
        ({"sqlite_database": 3}, TypeError, "not int"),
        ({"sqlite_database": b"a.db"}, TypeError, "not bytes"),
        ({"sqlite_database": None}, TypeError, "not NoneType"),
        ({"sqlite_table_name": ""}, ValueError, "ASCII letters"),
        ({"sqlite_table_name": "1st"}, ValueError, "ASCII letters"),
        ({"sqlite_table_name": 'a"; DROP TABLE b; --'}, ValueError, "ASCII letters"),
        ({"sqlite_table_name": "tasks\n"}, ValueError, "ASCII letters"),
        ({"sqlite_table_name": "tâches"}, ValueError, "ASCII letters"),
        ({"sqlite_table_name": "a" * 64}, ValueError, "63"),
        ({"sqlite_table_name": "SQLite_tasks"}, ValueError, "keeps for itself"),
        ({"sqlite_table_name": "Pyncette_Schema"}, ValueError, "schema's version"),
        ({"sqlite_table_name": None}, TypeError, "not NoneType"),
        ({"sqlite_tabel_name": "tasks"}, TypeError, "sqlite_tabel_name"),
    ],
)
def test_refused_at_the_call(options: dict[str, Any], error: type[Exception], hint: str) -> None:
    with pytest.raises(error, match=hint):
        sqlite_repository(**options)


@pytest.mark.parametrize(
    "url, database",
    [
        ("sqlite://", ":memory:"),
        ("sqlite:///", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///pyncette.db", "pyncette.db"),
        ("sqlite:///a/b%20c.db", "a/b%20c.db"),
        ("sqlite:////var/lib/pyncette.db", "/var/lib/pyncette.db"),
        ("sqlite:///C:/pyncette.db", "C:/pyncette.db"),
    ],
)
def test_urls(url: str, database: str) -> None:
    assert backend.options_from_url(url) == {"sqlite_database": database}


@pytest.mark.parametrize(
    "url, hint",
    [
        ("sqlite:pyncette.db", "looks like"),
        ("postgres:///pyncette.db", "looks like"),
        ("sqlite://pyncette.db", "three slashes"),
        ("sqlite://user:secret@host/pyncette.db", "no host"),
        ("sqlite:///pyncette.db?table=tasks", "sqlite_table_name"),
    ],
)
def test_urls_that_are_refused(url: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as caught:
        backend.options_from_url(url)
    assert "secret" not in str(caught.value)


async def test_a_table_may_be_named_like_an_sql_keyword(tmp_path: Path) -> None:
    async with sqlite_repository(sqlite_database=tmp_path / "a.db", sqlite_table_name="Order") as repository:
        assert await next_ready(repository, []) is None


async def test_an_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(RepositoryException, match=r"3\.37 or newer"):
        async with sqlite_repository():
            pass
