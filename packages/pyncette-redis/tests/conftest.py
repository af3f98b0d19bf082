"""Servers and namespaces, for all tests of this distribution."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.servers.model import Server
from tests.servers.plugin import StartServer


@pytest.fixture
def anyio_backend() -> str:
    """The driver's event loop. The contract runs on both."""
    return "asyncio"


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def server(start_server: StartServer) -> Iterator[Server]:
    """A single server of the test's own, to break as it likes."""
    with start_server("redis") as server:
        yield server


@pytest.fixture
def cluster(start_server: StartServer) -> Iterator[Server]:
    """A cluster of the test's own, to break as it likes."""
    with start_server("redis-cluster") as cluster:
        yield cluster
