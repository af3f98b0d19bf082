"""The contract of all backends on SQLite: in a file that several clients share, and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import aiosqlite
import pytest

from pyncette.repository import Repository
from pyncette.sqlite import backend, sqlite_repository
from pyncette.testing import Addresses, AppContract, Caller, Capabilities, RepositoryContract


@asynccontextmanager
async def caller(path: Path) -> AsyncIterator[Caller]:
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        yield Caller(connection, connection.execute, connection.close)


class TestSqliteFile(RepositoryContract, AppContract):
    capabilities = Capabilities(keeps_runs=True, one_writer=True)

    @pytest.fixture
    def repository_factory(self, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        return partial(sqlite_repository, sqlite_database=tmp_path / "pyncette.db")

    @pytest.fixture
    def caller_factory(self, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Caller]]:
        return partial(caller, tmp_path / "pyncette.db")

    @pytest.fixture
    def neighbour_factory(self, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        return partial(sqlite_repository, sqlite_database=tmp_path / "pyncette.db2")

    @pytest.fixture
    def addresses(self) -> Addresses:
        return Addresses(backend, ["sqlite:///relative.db", "sqlite:////absolute.db"], ["sqlite:nothing"])


@pytest.mark.variant
class TestSqliteInMemory(RepositoryContract, AppContract):
    capabilities = Capabilities(shared=False, persistent=False, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        return sqlite_repository
