"""DynamoDB keeps the contract of all backends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest

from pyncette.repository import Repository
from pyncette.testing import AppContract, Capabilities, RepositoryContract

Factory = Callable[[], AbstractAsyncContextManager[Repository]]


@pytest.mark.one_loop  # DynamoDB Local is slow
class TestDynamoDBContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(immediate_index=False, keeps_runs=True, max_spec_bytes=400_000)

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        backend: str = request.param
        return backend

    @pytest.fixture
    def repository_factory(self, direct: Factory) -> Factory:
        return direct
