"""The stores: how their servers are started, how clients reach them, and which faults they support."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.dynamodb import REGION
from tests.servers.dynamodb import ON_DISK
from tests.servers.model import Server
from tests.servers.postgres_standby import Pair

from .failover import NODE_TIMEOUT, Cluster, FailOver, Promotion, Sentinels

FAULTS = ("kill", "stop", "network", "restart", "failover", "clock", "disk", "operators")
"""All kinds of faults."""

StartServer = Callable[..., AbstractContextManager[Server]]
"""Starts a server of a kind with options, for the duration of a block."""


@dataclass(frozen=True, slots=True)
class Store:
    """A running store.

    :ivar options: returns the options of an app that connects to a port.
    :ivar impossible: the kinds of faults that it does not support, each with the reason.
    :ivar address: the address of its server, if clients reach it through a network; otherwise None.
    """

    name: str
    options: Callable[[int], dict[str, Any]]
    impossible: dict[str, str] = field(default_factory=dict)
    server: Server | None = None
    fail_over: FailOver | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        return None if self.server is None or self.server.nodes[2:] or self.server.service else _address(self.server)

    def faults(self, chosen: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """The chosen faults, or all that the store supports except ``disk``.

        :raises ValueError: the store doesn't support one of them.
        """
        for kind in chosen or ():
            if kind in self.impossible:
                raise ValueError(f"{self.name} can't have the fault {kind!r}: {self.impossible[kind]}.")
        return (
            tuple(kind for kind in FAULTS if kind not in self.impossible and kind != "disk")
            if chosen is None
            else chosen
        )


def chosen_faults(text: str) -> tuple[str, ...]:
    """:raises ValueError: there is no such fault."""
    found = tuple(kind for kind in text.split(",") if kind)
    for kind in found:
        if kind not in FAULTS:
            raise ValueError(f"There is no fault {kind!r}: choose some of {', '.join(FAULTS)}.")
    return found


ALWAYS = ("--appendfsync", "always")
"""Makes Redis keep everything that it has acknowledged. By default, a kill may lose up to two seconds of writes, as it
acknowledges them before they are on disk."""
NO_SERVER = "a file has no server"
OWN_CLOCK = "it has no clock, and its workers go by those of their machines"
ALONE = "its server has no replica"
FOUND = "its clients are told the addresses of the servers by these"
BY_FAILOVER = "its servers are lost by failovers"


@contextmanager
def started(name: str, start_server: StartServer, scratch: Path) -> Iterator[Store]:
    """The store of that name, with a separate server."""
    if name == "sqlite":
        url = f"sqlite:///{scratch}/pyncette.db"
        impossible = dict.fromkeys(("network", "restart", "failover"), NO_SERVER) | {"clock": OWN_CLOCK}
        yield Store(name, lambda _: {"url": url}, impossible)
        return
    make = _SERVERS[name]
    with start_server(make.kind or name, *make.options) as server:
        yield make.store(server)


def _address(server: Server) -> tuple[str, int]:
    return server.host, server.port


def _at(server: Server, port: int) -> str:
    return server.url.replace(f":{server.port}", f":{port}")


def _redis(server: Server) -> Store:
    return Store(
        "redis", lambda port: {"url": _at(server, port), "redis_namespace": "chaos"}, {"failover": ALONE}, server
    )


def _postgres(server: Server) -> Store:
    return Store("postgres", _postgres_options(server), {"failover": ALONE}, server)


def _mysql(server: Server) -> Store:
    return Store("mysql", lambda port: {"url": _at(server, port)}, {"failover": ALONE}, server)


def _dynamodb(server: Server) -> Store:
    table = f"dynamodb://{REGION}/chaos"
    impossible = {"failover": ALONE, "clock": OWN_CLOCK}
    return Store("dynamodb", lambda port: {"url": f"{table}?endpoint={_at(server, port)}"}, impossible, server)


def _sentinel(server: Server) -> Store:
    hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in server.sentinels)
    options = {
        "url": f"redis://{hosts}",
        "redis_namespace": "chaos",
        "redis_mode": "sentinel",
        "redis_sentinel_service": server.service,
    }
    return Store("redis-sentinel", lambda _: options, _GROUP, server, Sentinels(server))


def _cluster(server: Server) -> Store:
    options = {"url": server.url, "redis_namespace": "chaos", "redis_mode": "cluster"}
    return Store("redis-cluster", lambda _: options, _GROUP, server, Cluster(server))


def _standby(server: Server) -> Store:
    assert isinstance(server.control, Pair)
    promotion = Promotion(server.control)
    return Store("postgres-standby", _postgres_options(server), {"restart": BY_FAILOVER}, server, promotion)


def _postgres_options(server: Server) -> Callable[[int], dict[str, Any]]:
    return lambda port: {"url": f"{_at(server, port)}?sslmode=disable"}


_GROUP = {"network": FOUND, "restart": BY_FAILOVER}


@dataclass(frozen=True, slots=True)
class _Make:
    """How to create a store.

    :ivar kind: the kind of its server, if it differs from the store's name.
    :ivar options: the options of its server.
    """

    store: Callable[[Server], Store]
    kind: str = ""
    options: tuple[str, ...] = ()


_SERVERS: dict[str, _Make] = {
    "redis": _Make(_redis, options=ALWAYS),
    "postgres": _Make(_postgres),
    "mysql": _Make(_mysql),
    "dynamodb": _Make(_dynamodb, options=(ON_DISK,)),
    "redis-sentinel": _Make(_sentinel, options=ALWAYS),
    "redis-cluster": _Make(
        _cluster, kind="redis-cluster-replicas", options=(*ALWAYS, "--cluster-node-timeout", str(NODE_TIMEOUT))
    ),
    "postgres-standby": _Make(_standby),
}
STORES = (*_SERVERS, "sqlite")
