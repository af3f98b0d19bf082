"""The contract of all backends, on every kind of server."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import pytest

from pyncette.redis import backend, redis_repository
from pyncette.repository import Repository
from pyncette.testing import SECRET, Addresses, AppContract, Capabilities, RepositoryContract
from tests.servers.model import Server

Factory = Callable[[], AbstractAsyncContextManager[Repository]]


def sharing(namespace: str | None = None, **options: Any) -> Factory:
    name = namespace or uuid.uuid4().hex
    return lambda: redis_repository(redis_namespace=name, **options)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops, unlike the other tests of this package."""
    backend: str = request.param
    return backend


class TestRedisContract(RepositoryContract, AppContract):
    capabilities: ClassVar[Capabilities] = Capabilities(server_clock=True, keeps_runs=True)

    @pytest.fixture
    def repository_factory(self, redis_server: Server, namespace: str) -> Factory:
        return sharing(namespace, redis_url=redis_server.url)

    @pytest.fixture
    def neighbour_factory(self, redis_server: Server, namespace: str) -> Factory:
        return sharing(f"{namespace}2", redis_url=redis_server.url)

    @pytest.fixture
    def unreachable_factory(self) -> Factory:
        return sharing(redis_url=f"redis://:{SECRET}@127.0.0.1:9/0")

    @pytest.fixture
    def addresses(self) -> Addresses:
        right = ["redis://localhost", "rediss://user:password@localhost:1/2"]
        return Addresses(backend, right, [f"redis://user:{SECRET}@host:port/0"])


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
