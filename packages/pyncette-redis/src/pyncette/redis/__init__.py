"""Redis storage for Pyncette."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio

from pyncette.bridge import asyncio_only
from pyncette.repository import Backend, Repository

from . import options
from .client import Client
from .cluster import Cluster
from .failures import Failures
from .keys import Keys
from .options import Mode, Settings
from .repository import RedisRepository
from .router import OneNode, Router
from .startup import start

__all__ = ["RedisRepository", "backend", "redis_repository"]


@asyncio_only
def redis_repository(
    *,
    redis_url: str,
    redis_namespace: str = "",
    redis_timeout: float = options.DEFAULT_TIMEOUT,
    redis_mode: str = Mode.SINGLE.value,
    redis_sentinel_service: str | None = None,
) -> AbstractAsyncContextManager[Repository]:
    """
    Opens a repository in Redis 7 or newer, or in Valkey.

    :param redis_url: ``redis://user:password@host:6379/0``, or ``rediss://`` for TLS. For a cluster one or more of its
        servers, for sentinels one or more of them: ``redis://host1:26379,host2:26379``.
    :param redis_namespace: keeps the data of several apps apart in one database.
    :param redis_timeout: seconds that one call may take, connecting included.
    :param redis_mode: ``"single"``, ``"cluster"`` or ``"sentinel"``.
    :param redis_sentinel_service: the name under which the sentinels know the master.
    :raises TypeError: an option is of the wrong type.
    :raises ValueError: an option has an impossible value.
    """
    return _open(
        options.check(
            redis_url=redis_url,
            redis_namespace=redis_namespace,
            redis_timeout=redis_timeout,
            redis_mode=redis_mode,
            redis_sentinel_service=redis_sentinel_service,
        )
    )


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Repository]:
    failures = Failures(settings)
    keys = Keys(settings.namespace, spread=settings.mode is Mode.CLUSTER)
    client = Client(_router(settings), failures, timeout=settings.timeout)
    try:
        max_row = await start(client, keys, settings, failures)
        failures.starting = False
        yield RedisRepository(
            client,
            keys,
            max_row=max_row,
            namespace=settings.namespace,
            may_be_legacy=settings.mode is not Mode.CLUSTER,
        )
    finally:
        with anyio.move_on_after(settings.timeout, shield=True):  # connections are closed also by who is cancelled
            await client.aclose()


def _router(settings: Settings) -> Router:
    match settings.mode:
        case Mode.SINGLE:
            return OneNode.single(settings)
        case Mode.SENTINEL:
            return OneNode.sentinel(settings)
        case Mode.CLUSTER:
            return Cluster(settings)


backend: Backend = Backend(factory=redis_repository, options_from_url=options.options_from_url)
