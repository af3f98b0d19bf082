"""The contract of all backends, on MySQL and on MariaDB."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, ClassVar

import asyncmy
import pytest

from pyncette.mysql import backend, mysql_repository
from pyncette.mysql.connection import execute
from pyncette.repository import Repository
from pyncette.testing import SECRET, Addresses, AppContract, Caller, Capabilities, RepositoryContract
from tests.servers.model import Server

Factory = Callable[[], AbstractAsyncContextManager[Repository]]
CallerFactory = Callable[[], AbstractAsyncContextManager[Caller]]


@asynccontextmanager
async def caller(server: Server, **options: Any) -> AsyncIterator[Caller]:
    connection = await asyncmy.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=server.database,
        autocommit=True,
        **options,
    )

    async def execute_one(statement: str) -> None:
        await execute(connection, statement)

    try:
        yield Caller(connection, execute_one, connection.ensure_closed)
    finally:
        await connection.ensure_closed()


def on(server: Server) -> Factory:
    """Clients that share a separate table."""
    return partial(
        mysql_repository,
        mysql_host=server.host,
        mysql_port=server.port,
        mysql_user=str(server.user),
        mysql_password=server.password,
        mysql_database=str(server.database),
        mysql_table_name=f"contract_{uuid.uuid4().hex}",
    )


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, unlike the other tests of this package."""
    backend: str = request.param
    return backend


class TestMySQLContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, mysql_server: Server) -> Factory:
        return on(mysql_server)

    @pytest.fixture
    def caller_factory(self, mysql_server: Server) -> CallerFactory:
        return partial(caller, mysql_server)

    @pytest.fixture
    def neighbour_factory(self, mysql_server: Server) -> Factory:
        return on(mysql_server)

    @pytest.fixture
    def unreachable_factory(self) -> Factory:
        return partial(
            mysql_repository,
            mysql_host="127.0.0.1",
            mysql_port=9,
            mysql_user="user",
            mysql_password=SECRET,
            mysql_database="test",
        )

    @pytest.fixture
    def addresses(self) -> Addresses:
        right = ["mysql://user:password@localhost/test"]
        return Addresses(backend, right, [f"mysql://user:{SECRET}@host:port/test"])


@pytest.mark.variant
class TestMariaDBContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, mariadb_server: Server) -> Factory:
        return on(mariadb_server)

    @pytest.fixture
    def caller_factory(self, mariadb_server: Server) -> CallerFactory:
        return partial(caller, mariadb_server)
