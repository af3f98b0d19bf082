"""The stores that are hurt: how their servers start, what leads to them, and which faults they can have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers.dynamodb import REGION
from tests.servers.model import Server

FAULTS = ("kill", "stop", "network", "restart", "operators")
"""All kinds of faults."""

StartServer = Callable[..., AbstractContextManager[Server]]
"""From a kind of server and its options to one that lives for a block."""


@dataclass(frozen=True, slots=True)
class Store:
    """A store that runs.

    :ivar options: from the port to connect to, to the options of an app.
    :ivar impossible: kinds of faults that it can't have, each with the reason.
    :ivar address: where its server listens; None if it has none.
    """

    name: str
    options: Callable[[int], dict[str, Any]]
    impossible: dict[str, str] = field(default_factory=dict)
    server: Server | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        return None if self.server is None else (self.server.host, self.server.port)

    @property
    def possible(self) -> list[str]:
        return [kind for kind in FAULTS if kind not in self.impossible]


NO_SERVER = "a file has no server"


@contextmanager
def started(name: str, start_server: StartServer, scratch: Path) -> Iterator[Store]:
    """The store of that name, with a server of its own."""
    if name == "sqlite":
        url = f"sqlite:///{scratch}/pyncette.db"
        yield Store(name, lambda _: {"url": url}, dict.fromkeys(("network", "restart"), NO_SERVER))
        return
    with start_server(name, *SERVER_OPTIONS.get(name, ())) as server:
        yield _SERVERS[name](server)


def _at(server: Server, port: int) -> str:
    return server.url.replace(f":{server.port}", f":{port}")


def _redis(server: Server) -> Store:
    return Store("redis", lambda port: {"url": _at(server, port), "redis_namespace": "chaos"}, {}, server)


def _postgres(server: Server) -> Store:
    return Store("postgres", lambda port: {"url": f"{_at(server, port)}?sslmode=disable"}, {}, server)


def _mysql(server: Server) -> Store:
    return Store("mysql", lambda port: {"url": _at(server, port)}, {}, server)


def _dynamodb(server: Server) -> Store:
    return Store(
        "dynamodb", lambda port: {"url": f"dynamodb://{REGION}/chaos?endpoint={_at(server, port)}"}, {}, server
    )


SERVER_OPTIONS: dict[str, tuple[str, ...]] = {"dynamodb": ("--on-disk",)}
_SERVERS: dict[str, Callable[[Server], Store]] = {
    "redis": _redis,
    "postgres": _postgres,
    "mysql": _mysql,
    "dynamodb": _dynamodb,
}
STORES = (*_SERVERS, "sqlite")
