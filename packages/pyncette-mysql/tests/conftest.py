from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.helpers.mysql import Proxy, Store
from tests.servers.model import Server


@pytest.fixture
def anyio_backend() -> str:
    """The driver's event loop. The contract runs on both."""
    return "asyncio"


@pytest.fixture(params=["mysql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Store]:
    """A table of the test's own."""
    store = Store(server)
    yield store
    await store.ask(f"DROP TABLE IF EXISTS {store.table}, {store.table}_runs")


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """A proxy to the server, to observe and break connections."""
    async with Proxy(server.host, server.port).running() as proxy:
        yield proxy
