"""The contract of all backends, on a single server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest

from pyncette.redis import redis_repository
from pyncette.repository import Repository
from pyncette.testing import Capabilities, RepositoryContract
from tests.servers.model import Server


class TestRedisContract(RepositoryContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True)

    @pytest.fixture
    def repository_factory(self, redis_server: Server) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        namespace = uuid.uuid4().hex
        return lambda: redis_repository(redis_url=redis_server.url, redis_namespace=namespace)
