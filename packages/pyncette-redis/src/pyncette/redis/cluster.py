"""Redis Cluster: which server has which slot, learned from the servers.

The driver's own cluster client is not used here. It can replace this module once it

* follows an ASK to a server that has no slots yet (redis-py issue 4015),
* sends ASKING and the command that needs it over the same connection: redis-py 8.1 takes any free one for each
  (`RedisCluster._execute_command`; there was no issue about it in November 2026),
* doesn't close connections that other calls are using when the map changes or a call fails (pull requests 4057, 4207).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, ClusterDownError, MovedError, ResponseError

from .connection import Node, connecting
from .errors import TRANSPORT
from .router import Router
from .settings import Settings
from .wire import command

REFRESH_INTERVAL = 0.5
"""The minimum number of seconds between two requests for the cluster's map of slots."""

_SLOTS = command("CLUSTER", "SLOTS")
_SHARE_OF_TIMEOUT = 0.25
"""The fraction of the timeout after which the next server is asked for the map."""


class Cluster(Router):
    """Keeps a map of all slots, and requests it again after a call has failed or was redirected."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: dict[int, Node] = {}
        self._stale = True
        self._next_look = 0.0
        self._failed_node: Node | None = None
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        if not self._due_for_a_look():
            return
        async with self._lock:
            if self._due_for_a_look():
                await self._look()
                self._stale, self._failed_node = False, None
                self._next_look = asyncio.get_running_loop().time() + REFRESH_INTERVAL

    def node(self, slot: int) -> Node:
        node = self._slots.get(slot)
        if node is None:
            self._stale = True
            raise ClusterDownError(f"no server has the slot {slot}")
        return node

    def masters(self) -> Sequence[Node]:
        return list(dict.fromkeys(self._slots.values()))

    async def report_failure(self, node: Node) -> None:
        await super().report_failure(node)
        self._stale, self._failed_node = True, node

    def invalidate(self) -> None:
        self._stale = True

    def redirected(self, error: AskError, node: Node) -> Node | None:
        address = (error.host or self._host_of(node), error.port)
        target = self._node(address)
        if isinstance(error, MovedError):
            self._slots[error.slot_id] = target
            self._stale = True
        return target

    async def aclose(self) -> None:
        for node in self._nodes.values():
            await node.aclose()

    def _due_for_a_look(self) -> bool:
        return self._stale and (not self._slots or asyncio.get_running_loop().time() >= self._next_look)

    async def _look(self) -> None:
        """Ask one server after another for the map. If none answers, keep the old map, if there is one."""
        error: BaseException | None = None
        for address in self._candidates():
            try:
                node = self._node(address)
                (reply,) = await node.run([_SLOTS], timeout=self._settings.timeout * _SHARE_OF_TIMEOUT)
            except TRANSPORT as failure:
                error = failure
                continue
            if isinstance(reply, ResponseError):
                raise reply
            if reply:
                await self._learn(reply, address[0])
                return
            error = ClusterDownError("the cluster has no slots yet")
        if error is not None and not self._slots:
            raise error

    def _candidates(self) -> Iterator[tuple[str, int]]:
        serving = set(self._slots.values())
        known = [address for address, node in self._nodes.items() if node in serving and node is not self._failed_node]
        random.shuffle(known)
        yield from dict.fromkeys([*known, *self._settings.hosts])

    async def _learn(self, reply: Sequence[Any], asked: str) -> None:
        slots: dict[int, Node] = {}
        for first, last, master, *_ in reply:
            node = self._node((master[0].decode() if master[0] else asked, master[1]))
            slots.update(dict.fromkeys(range(first, last + 1), node))
        self._slots = slots
        serving = set(slots.values())
        for node in self._nodes.values():
            if node not in serving:
                await node.forget()

    def _node(self, address: tuple[str, int]) -> Node:
        node = self._nodes.get(address)
        if node is None:
            settings, (host, port) = self._settings, address

            async def connect() -> AbstractConnection:
                return connecting(settings.connection, settings.timeout, host, port)

            node = Node(f"{host}:{port}", connect, connections=settings.connections, timeout=settings.timeout)
            self._nodes[address] = node
        return node

    def _host_of(self, node: Node) -> str:
        return next(host for (host, _), known in self._nodes.items() if known is node)
