"""Which server a call goes to: always the same one, the master that sentinels name, or the one with the slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
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

    async def suspect(self, node: Node) -> None:
        """A call to this server failed. Its other connections are likely to be of no use either."""
        await node.forget()

    @abstractmethod
    def doubt(self) -> None:
        """The servers disagree about where the data is."""

    @abstractmethod
    def redirected(self, error: AskError, node: Node) -> Node | None:
        """The server named by a MOVED or ASK that ``node`` answered; None if that can't be."""

    @abstractmethod
    async def aclose(self) -> None: ...


def connecting(settings: Settings, host: str = "", port: int = 0) -> AbstractConnection:
    """A connection that is yet to be opened. RESP2: replies are single strings, and its handshake is shorter."""
    options: dict[str, Any] = {
        **settings.connection,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": settings.timeout,
    }
    make = options.pop("connection_class", Connection)
    made: AbstractConnection = make(**options) if "path" in options else make(host=host, port=port, **options)
    return made


class OneNode(Router):
    """A single server, or the master of a set that sentinels watch."""

    def __init__(self, node: Node, sentinel: Sentinel | None = None) -> None:
        self._node = node
        self._sentinel = sentinel

    @classmethod
    def single(cls, settings: Settings) -> OneNode:
        async def connect() -> AbstractConnection:
            return connecting(settings, *settings.hosts[0])

        return cls(Node(settings.address, connect, connections=settings.connections, timeout=settings.timeout))

    @classmethod
    def sentinel(cls, settings: Settings) -> OneNode:
        """The sentinels are asked for the master each time before a connection is opened."""
        sentinel = _sentinels(settings)

        async def connect() -> AbstractConnection:
            host, port = await sentinel.discover_master(settings.service or "")
            return connecting(settings, host, port)

        node = Node(settings.address, connect, connections=settings.connections, timeout=settings.timeout)
        return cls(node, sentinel)

    async def prepare(self) -> None:
        pass

    def node(self, slot: int) -> Node:
        return self._node

    def masters(self) -> Sequence[Node]:
        return [self._node]

    def doubt(self) -> None:
        pass

    def redirected(self, error: AskError, node: Node) -> Node | None:
        return None

    async def aclose(self) -> None:
        await self._node.aclose()
        if self._sentinel is not None:
            for sentinel in self._sentinel.sentinels:
                await sentinel.aclose()


def _sentinels(settings: Settings) -> Sentinel:
    patience = settings.timeout / (len(settings.hosts) + 1)  # a dead one must leave time for the others
    tls = {name: value for name, value in settings.connection.items() if name.startswith("ssl_")}
    options = {
        **tls,
        **settings.sentinel,
        "ssl": settings.connection.get("connection_class") is SSLConnection,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
    }
    return Sentinel(settings.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call] # the driver's
