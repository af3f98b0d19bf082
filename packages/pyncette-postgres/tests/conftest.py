from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.helpers import postgres as helpers
from tests.servers.model import Server


@pytest.fixture
def anyio_backend() -> str:
    """The driver's event loop. The contract runs on both."""
    return "asyncio"


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    """An unused name for a table."""
    with helpers.table(postgres_server.url) as name:
        yield name


@pytest.fixture
async def other(postgres_server: Server) -> AsyncIterator[Any]:
    """A connection of another program."""
    async with helpers.connection(postgres_server.url) as connection:
        yield connection
