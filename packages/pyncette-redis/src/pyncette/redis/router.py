"""The server that a call goes to: always the same one, the master that sentinels name, or the owner of the slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError

from .connection import Node, connecting
from .sentinel import Sentinels
from .settings import Settings


class Router(ABC):
    """Finds servers. By default there is only one, and a redirection is an error of the server."""

    @abstractmethod
    async def prepare(self) -> None:
        """Called before each attempt: finds out where the data is, if that is unknown or outdated."""

    @abstractmethod
    def node(self, slot: int) -> Node:
        """The server that holds the slot."""

    @abstractmethod
    def masters(self) -> Sequence[Node]: ...

    async def report_failure(self, node: Node) -> None:
        """A call to this server has failed, so its other connections are probably lost too."""
        await node.forget()

    @abstractmethod
    def invalidate(self) -> None:
        """The servers disagree about where the data is."""

    @abstractmethod
    def redirected(self, error: AskError, node: Node) -> Node | None:
        """The server that a MOVED or ASK from ``node`` names; None if it can't be correct."""

    @abstractmethod
    async def aclose(self) -> None: ...


class OneNode(Router):
    """A single server, or the master of a set that sentinels watch."""

    def __init__(self, node: Node, sentinels: Sentinels | None = None) -> None:
        self._node = node
        self._sentinels = sentinels

    @classmethod
    def single(cls, settings: Settings) -> OneNode:
        async def connect() -> AbstractConnection:
            return connecting(settings.connection, settings.timeout, *settings.hosts[0])

        return cls(Node(settings.address, connect, connections=settings.connections, timeout=settings.timeout))

    @classmethod
    def sentinel(cls, settings: Settings) -> OneNode:
        """The sentinels are asked for the master each time before a connection is opened."""
        sentinels = Sentinels(settings)

        async def connect() -> AbstractConnection:
            return connecting(settings.connection, settings.timeout, *await sentinels.master())

        node = Node(settings.address, connect, connections=settings.connections, timeout=settings.timeout)
        return cls(node, sentinels)

    async def prepare(self) -> None:
        pass

    def node(self, slot: int) -> Node:
        return self._node

    def masters(self) -> Sequence[Node]:
        return [self._node]

    def invalidate(self) -> None:
        pass

    def redirected(self, error: AskError, node: Node) -> Node | None:
        return None

    async def aclose(self) -> None:
        await self._node.aclose()
        if self._sentinels is not None:
            await self._sentinels.aclose()
