"""The contract of all backends, on every kind of server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import pytest

from pyncette.redis import redis_repository
from pyncette.repository import Repository
from pyncette.testing import AppContract, Capabilities, RepositoryContract
from tests.servers.model import Server

Factory = Callable[[], AbstractAsyncContextManager[Repository]]


def sharing(**options: Any) -> Factory:
    namespace = uuid.uuid4().hex
    return lambda: redis_repository(redis_namespace=namespace, **options)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """On both, unlike the other tests of this package."""
    backend: str = request.param
    return backend


class TestRedisContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, redis_server: Server) -> Factory:
        return sharing(redis_url=redis_server.url)


@pytest.mark.variant
class TestClusterContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, redis_cluster: Server) -> Factory:
        return sharing(redis_url=redis_cluster.url, redis_mode="cluster")


@pytest.mark.variant
class TestSentinelContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, redis_sentinel: Server) -> Factory:
        hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in redis_sentinel.sentinels)
        return sharing(
            redis_url=f"redis://{hosts}", redis_mode="sentinel", redis_sentinel_service=redis_sentinel.service
        )


@pytest.mark.variant
class TestRedis8Contract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, redis8_server: Server) -> Factory:
        return sharing(redis_url=redis8_server.url)


@pytest.mark.variant
class TestValkeyContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, valkey_server: Server) -> Factory:
        return sharing(redis_url=valkey_server.url)
