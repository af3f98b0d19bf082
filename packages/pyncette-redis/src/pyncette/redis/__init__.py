"""Redis storage for Pyncette."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio

from pyncette.bridge import asyncio_only
from pyncette.repository import Backend, Repository

from . import server, settings
from .client import Client
from .cluster import Cluster
from .errors import Failures
from .keys import Keys
from .repository import RedisRepository
from .router import OneNode, Router
from .schema import Schema, opened
from .settings import Mode, Settings
from .upgrade import Upgrade

__all__ = ["RedisRepository", "backend", "redis_repository"]

CLOSE_TIMEOUT = 1.0
"""The maximum number of seconds to close the connections."""


@asyncio_only
def redis_repository(
    *,
    redis_url: str,
    redis_namespace: str = "",
    redis_timeout: float = settings.DEFAULT_TIMEOUT,
    redis_mode: str = Mode.SINGLE.value,
    redis_sentinel_service: str | None = None,
    finish_upgrade: bool = False,
) -> AbstractAsyncContextManager[Repository]:
    """
    Opens a repository in Redis 7 or newer, or in Valkey.

    :param redis_url: ``redis://user:password@host:6379/0``, or ``rediss://`` for TLS. For a cluster, one or more of its
        servers; for sentinels, one or more of them: ``redis://host1:26379,host2:26379``.
    :param redis_namespace: separates the data of several apps in one database.
    :param redis_timeout: seconds that one call may take, including connecting.
    :param redis_mode: ``"single"``, ``"cluster"`` or ``"sentinel"``.
    :param redis_sentinel_service: the name under which the sentinels know the master.
    :param finish_upgrade: confirms that no process of an older release uses the namespace, or will: the upgrade is
        finished, after which they no longer can.
    :raises TypeError: an option has the wrong type.
    :raises ValueError: an option has an impossible value.
    """
    return _open(
        settings.check(
            redis_url=redis_url,
            redis_namespace=redis_namespace,
            redis_timeout=redis_timeout,
            redis_mode=redis_mode,
            redis_sentinel_service=redis_sentinel_service,
            finish_upgrade=finish_upgrade,
        )
    )


@asynccontextmanager
async def _open(chosen: Settings) -> AsyncIterator[Repository]:
    failures = Failures(chosen)
    keys = Keys(chosen.namespace, spread=chosen.mode is Mode.CLUSTER)
    client = Client(_router(chosen), failures, timeout=chosen.timeout)
    try:
        max_row = await server.check(client, chosen, failures)
        await _prepare(client, keys, chosen, Schema.of(chosen))
        failures.starting = False
        yield RedisRepository(client, keys, chosen, max_row=max_row)
    finally:
        # Cancelled or not, the connections are closed.
        with anyio.move_on_after(min(chosen.timeout, CLOSE_TIMEOUT), shield=True):
            await client.aclose()


async def _prepare(client: Client, keys: Keys, chosen: Settings, schema: Schema) -> None:
    """Bring the namespace to the format of this release; several processes may do this at the same time."""
    if schema.pending(await opened(client, keys, chosen, schema)):
        await Upgrade(client, keys, schema).run()


def _router(chosen: Settings) -> Router:
    match chosen.mode:
        case Mode.SINGLE:
            return OneNode.single(chosen)
        case Mode.SENTINEL:
            return OneNode.sentinel(chosen)
        case Mode.CLUSTER:
            return Cluster(chosen)


backend: Backend = Backend(factory=redis_repository, options_from_url=settings.options_from_url)
