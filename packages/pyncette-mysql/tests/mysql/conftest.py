from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.mysql_lab import Lab, Proxy
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
async def lab(server: Server) -> AsyncIterator[Lab]:
    """A table that nobody else uses."""
    lab = Lab(server)
    yield lab
    await lab.ask(f"DROP TABLE IF EXISTS {lab.table}")


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    """A way to the server that can be watched and broken."""
    async with Proxy(server.host, server.port).running() as proxy:
        yield proxy
