"""The contract of all backends on PostgreSQL: directly, and as behind a proxy with pooled transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar

import pytest

from pyncette.postgres import backend, postgres_repository
from pyncette.repository import Repository
from pyncette.testing import SECRET, Addresses, AppContract, Caller, Capabilities, RepositoryContract
from tests.helpers import postgres as helpers
from tests.servers.model import Server

Factory = Callable[[], AbstractAsyncContextManager[Repository]]
CallerFactory = Callable[[], AbstractAsyncContextManager[Caller]]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, unlike the other tests of this package."""
    backend: str = request.param
    return backend


class TestPostgres(RepositoryContract, AppContract):
    capabilities = Capabilities(server_clock=True, keeps_runs=True)
    statement_cache_size: ClassVar[int] = 100

    @pytest.fixture
    def repository_factory(self, postgres_server: Server) -> Iterator[Factory]:
        with helpers.table(postgres_server.url) as table:
            yield partial(
                postgres_repository,
                postgres_url=postgres_server.url,
                postgres_table_name=table,
                postgres_statement_cache_size=self.statement_cache_size,
            )

    @pytest.fixture
    def caller_factory(self, postgres_server: Server) -> CallerFactory:
        return partial(helpers.caller, postgres_server.url)

    @pytest.fixture
    def neighbour_factory(self, postgres_server: Server) -> Iterator[Factory]:
        url = postgres_server.url
        with helpers.table(url) as table:
            yield partial(postgres_repository, postgres_url=url, postgres_table_name=table)

    @pytest.fixture
    def unreachable_factory(self) -> Factory:
        return partial(postgres_repository, postgres_url=f"postgresql://user:{SECRET}@127.0.0.1:9/test")

    @pytest.fixture
    def addresses(self) -> Addresses:
        right = ["postgres://localhost/test", "postgresql://user:password@localhost:1/test"]
        return Addresses(backend, right, [f"postgresql://user:{SECRET}@host:port/test"])


@pytest.mark.variant
class TestPostgresWithoutStatementCache(TestPostgres):
    statement_cache_size = 0
