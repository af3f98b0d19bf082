"""PostgreSQL keeps the contract: directly, and as behind a proxy that gives each transaction another connection."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar

import pytest

from pyncette.postgres import postgres_repository
from pyncette.repository import Repository
from pyncette.testing import AppContract, Capabilities, RepositoryContract
from tests.servers.model import Server

Factory = Callable[[], AbstractAsyncContextManager[Repository]]


class TestPostgres(RepositoryContract, AppContract):
    capabilities = Capabilities(server_clock=True)
    statement_cache_size: ClassVar[int] = 100

    @pytest.fixture
    def repository_factory(self, postgres_server: Server) -> Factory:
        return partial(
            postgres_repository,
            postgres_url=postgres_server.url,
            postgres_table_name=f"contract_{uuid.uuid4().hex}",
            postgres_statement_cache_size=self.statement_cache_size,
        )


class TestPostgresWithoutStatementCache(TestPostgres):
    statement_cache_size = 0
