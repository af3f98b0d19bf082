"""Asks sentinels where the master is.

The driver's sentinel client is not used. It swaps entries of its list of sentinels while other tasks iterate over the
list, so that they may skip one (redis-py's pull request 4331); its pool leaked a connection with each failover (issue
4187); and it can't close its connections to the sentinels (issue 3201). Once these are fixed, this module can go.
"""

from __future__ import annotations

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from .connection import Node, connecting
from .errors import TRANSPORT, NoMasterError
from .settings import Settings
from .wire import command


class Sentinels:
    """All sentinels of the configuration; the one that answered last is asked first."""

    def __init__(self, settings: Settings) -> None:
        # A sentinel that doesn't answer must leave time for the others.
        timeout = settings.timeout / (len(settings.hosts) + 1)
        self._service = settings.service or ""
        self._question = command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        self._sentinels = [self._node(settings, host, port, timeout) for host, port in settings.hosts]

    async def master(self) -> tuple[str, int]:
        """:raises NoMasterError: no sentinel knows the master.
        :raises redis.RedisError: the server is not a sentinel."""
        silent: BaseException | None = None
        for sentinel in list(self._sentinels):
            try:
                (reply,) = await sentinel.run([self._question])
            except TRANSPORT as error:
                silent = error
                continue
            if isinstance(reply, ResponseError):
                raise reply
            if reply:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return reply[0].decode(), int(reply[1])
        if silent is not None:
            raise NoMasterError(f"not all sentinels can be reached, and none names it: {silent}") from silent
        raise NoMasterError("the sentinels don't know this service: check redis_sentinel_service")

    async def aclose(self) -> None:
        for sentinel in self._sentinels:
            await sentinel.aclose()

    @staticmethod
    def _node(settings: Settings, host: str, port: int, timeout: float) -> Node:
        login = {name: value for name, value in settings.sentinel.items() if value is not None}
        others = {"connection_class", "client_name"}
        tls = {name: value for name, value in settings.connection.items() if name in others or name.startswith("ssl_")}

        async def connect() -> AbstractConnection:
            return connecting({**tls, **login}, timeout, host, port)

        return Node(f"{host}:{port}", connect, connections=settings.connections, timeout=timeout)
