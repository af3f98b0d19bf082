"""DynamoDB keeps the contract of all backends."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from pyncette.dynamodb import dynamodb_repository
from pyncette.repository import Repository
from pyncette.testing import Capabilities, RepositoryContract
from tests.servers.model import Server

Factory = Callable[[], AbstractAsyncContextManager[Repository]]


class TestDynamoDBContract(RepositoryContract):
    capabilities = Capabilities(immediate_index=False, max_spec_bytes=400_000)

    @pytest.fixture
    def repository_factory(self, dynamodb_server: Server, monkeypatch: pytest.MonkeyPatch) -> Factory:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        return partial(
            dynamodb_repository,
            dynamodb_endpoint=dynamodb_server.endpoint,
            dynamodb_region_name="eu-west-1",
            dynamodb_table_name=f"contract_{uuid.uuid4().hex}",
        )
