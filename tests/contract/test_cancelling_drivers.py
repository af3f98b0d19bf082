"""Every server's driver, cancelled at every point where it waits, on asyncio and through the bridge."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest

from pyncette.dynamodb import dynamodb_repository
from pyncette.mysql import mysql_repository
from pyncette.postgres import postgres_repository
from pyncette.redis import redis_repository
from pyncette.repository import Repository
from pyncette.testing.cancellation import Target, cancel_everywhere
from tests.servers.model import Server

Manager = AbstractAsyncContextManager[Repository]

WAITING: tuple[Target, ...] = ("read", "swap", "look", "scan", "scan_ready", "queues", "count", "claim")


def fresh() -> str:
    return f"cancelled_{uuid.uuid4().hex}"


def on_redis(server: Server) -> Callable[[], Manager]:
    name = fresh()
    return lambda: redis_repository(redis_url=server.url, redis_namespace=name)


def on_postgres(server: Server) -> Callable[[], Manager]:
    name = fresh()
    return lambda: postgres_repository(postgres_url=server.url, postgres_table_name=name)


def on_mysql(server: Server) -> Callable[[], Manager]:
    parts = urlsplit(server.url)
    options: dict[str, Any] = {
        "mysql_host": parts.hostname,
        "mysql_port": parts.port,
        "mysql_user": server.user,
        "mysql_password": server.password,
        "mysql_database": server.database,
        "mysql_table_name": fresh(),
    }
    return lambda: mysql_repository(**options)


def on_dynamodb(server: Server) -> Callable[[], Manager]:
    name = fresh()
    return lambda: dynamodb_repository(
        dynamodb_endpoint=server.endpoint, dynamodb_region_name="eu-west-1", dynamodb_table_name=name
    )


@pytest.mark.parametrize(
    "kind, make",
    [("redis", on_redis), ("postgres", on_postgres), ("mysql", on_mysql), ("dynamodb", on_dynamodb)],
)
async def test_cancelled_everywhere(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    make: Callable[[Server], Callable[[], Manager]],
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    points = await cancel_everywhere(make(request.getfixturevalue(f"{kind}_server")))
    assert all(points[name] for name in WAITING), points
    assert points["open"], points
