"""Which server a call goes to: always the same one, the master that sentinels name, or the one with the slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AskError

from .node import Node
from .options import Settings


class Router(ABC):
    """Finds servers. Where there is one only, all redirections are errors of the server's."""

    @abstractmethod
    async def prepare(self) -> None:
        """Called before each attempt; learns where the data is if that is unknown or in doubt."""

    @abstractmethod
    def node(self, slot: int) -> Node:
        """The server that has the slot."""

    @abstractmethod
    def masters(self) -> Sequence[Node]: ...

    @abstractmethod
    def suspect(self, node: Node) -> None:
        """A call to this server failed."""

    @abstractmethod
    def redirected(self, error: AskError, node: Node) -> Node | None:
        """The server named by a MOVED or ASK that ``node`` answered; None if that can't be."""

    @abstractmethod
    async def aclose(self) -> None: ...


def connection_options(settings: Settings) -> dict[str, Any]:
    """Arguments of the driver's connections. RESP2: all replies are single strings, and its handshake is shorter."""
    return {
        **settings.connection,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": settings.timeout,  # bounds the closing of connections as well
    }


class OneNode(Router):
    """A single server, or the master of a set that sentinels watch."""

    def __init__(self, node: Node, sentinel: Sentinel | None = None) -> None:
        self._node = node
        self._sentinel = sentinel

    @classmethod
    def single(cls, settings: Settings) -> OneNode:
        options = connection_options(settings)
        if "path" not in options:
            options["host"], options["port"] = settings.hosts[0]
        pool = ConnectionPool(max_connections=settings.connections, **options)
        return cls(Node(settings.address, pool, timeout=settings.timeout))

    @classmethod
    def sentinel(cls, settings: Settings) -> OneNode:
        """A connection asks the sentinels for the master each time before it connects."""
        options = connection_options(settings)
        tls = options.pop("connection_class", None) is SSLConnection
        patience = settings.timeout / (len(settings.hosts) + 1)  # a dead sentinel must leave time for the others
        asking = {
            **{name: value for name, value in options.items() if name.startswith("ssl_")},
            **settings.sentinel,
            "ssl": tls,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
        }
        sentinel = Sentinel(settings.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call] # the driver's
        master = sentinel.master_for(settings.service or "", max_connections=settings.connections, ssl=tls, **options)
        return cls(Node(settings.address, master.connection_pool, timeout=settings.timeout), sentinel)

    async def prepare(self) -> None:
        pass

    def node(self, slot: int) -> Node:
        return self._node

    def masters(self) -> Sequence[Node]:
        return [self._node]

    def suspect(self, node: Node) -> None:
        pass

    def redirected(self, error: AskError, node: Node) -> Node | None:
        return None

    async def aclose(self) -> None:
        await self._node.aclose()
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()
