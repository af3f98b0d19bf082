"""Tables, clients and a proxy, for all tests of this distribution."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
from botocore.loaders import JSONFileLoader, Loader

from pyncette.dynamodb import connection
from pyncette.repository import Repository
from tests.helpers.dynamodb import Wire, credentials, repository_of, table, wire
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]


@pytest.fixture
def anyio_backend() -> str:
    """The driver's event loop. The contract runs on both."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """For each client, botocore lists hundreds of folders and parses megabytes of JSON, which takes most of a test."""
    with pytest.MonkeyPatch.context() as patch:
        load = functools.cache(functools.partial(JSONFileLoader.load_file, JSONFileLoader()))
        patch.setattr(JSONFileLoader, "load_file", staticmethod(load))
        services = functools.cache(Loader().list_available_services)
        patch.setattr(Loader, "list_available_services", lambda _, type_name: services(type_name))
        yield


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    credentials(monkeypatch)


@pytest.fixture
def table_name(dynamodb_server: Server) -> Iterator[str]:
    with table(dynamodb_server.endpoint) as name:
        yield name


@pytest.fixture
def proxy(dynamodb_server: Server) -> Iterator[Wire]:
    with wire(dynamodb_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def direct(dynamodb_server: Server, table_name: str, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """Clients of one table, connected to the server itself, with time limits that suit a busy machine."""
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 60.0)
    monkeypatch.setattr(connection, "READ_TIMEOUT", 60.0)
    factory: Factory = repository_of(dynamodb_server.endpoint, table_name)
    return factory


@pytest.fixture
def watched(proxy: Wire, table_name: str) -> Factory:
    """Clients of the same table, through the proxy."""
    factory: Factory = repository_of(proxy.endpoint, table_name)
    return factory
