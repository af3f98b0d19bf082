"""The contract of all backends on DynamoDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest

from pyncette.dynamodb import backend
from pyncette.repository import Repository
from pyncette.testing import SECRET, Addresses, AppContract, Capabilities, RepositoryContract
from tests.helpers.dynamodb import repository_of, table
from tests.servers.model import Server

Factory = Callable[[], AbstractAsyncContextManager[Repository]]


class TestDynamoDBContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(immediate_index=False, keeps_runs=True, max_spec_bytes=400_000)

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        backend: str = request.param
        return backend

    @pytest.fixture
    def repository_factory(self, direct: Factory) -> Factory:
        return direct

    @pytest.fixture
    def neighbour_factory(self, dynamodb_server: Server) -> Iterator[Factory]:
        with table(dynamodb_server.endpoint) as name:
            yield repository_of(dynamodb_server.endpoint, name)

    @pytest.fixture
    def unreachable_factory(self) -> Factory:
        factory: Factory = repository_of("http://127.0.0.1:9", "nowhere")
        return factory

    @pytest.fixture
    def addresses(self) -> Addresses:
        return Addresses(
            backend, ["dynamodb://eu-west-1/table", "dynamodb:///table"], [f"dynamodb://key:{SECRET}@eu-west-1/table"]
        )
