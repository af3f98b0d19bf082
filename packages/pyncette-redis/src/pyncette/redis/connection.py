"""One Redis server: a bounded set of connections, and pipelined commands over one of them.

The driver's pools are not used. They close idle connections for good reasons, such as a failover, but slowly enough
that another call may take one of these in the meantime and lose it (redis-py issue 1345).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pyncette.cancellation import fell_silent
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

_can_read = getattr(AbstractConnection, "can_read", None) or AbstractConnection.can_read_destructive
"""It has another name before redis-py 8."""

Connect = Callable[[], Awaitable[AbstractConnection]]


def connecting(options: Mapping[str, Any], timeout: float, host: str, port: int) -> AbstractConnection:
    """
    A connection that is not open yet. It speaks RESP2: all replies are single strings anyway, and its handshake is
    shorter.

    :param options: arguments of the driver's connections.
    :param timeout: seconds that closing it may take.
    """
    given: dict[str, Any] = {
        **options,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
    }
    make = given.pop("connection_class", Connection)
    made: AbstractConnection = make(**given) if "path" in given else make(host=host, port=port, **given)
    return made


class Node:
    """One server. Several calls may be under way at the same time, each on a separate connection.

    The driver's own retries and timeouts are off: it must not repeat a write, and one deadline covers the whole call,
    from waiting for a connection to the last reply.

    :ivar address: for messages.
    """

    def __init__(self, address: str, connect: Connect, *, connections: int, timeout: float) -> None:
        """``connect`` creates connections, which need not be open yet."""
        self.address = address
        self._connect = connect
        self._timeout = timeout
        self._free = asyncio.Semaphore(connections)
        self._idle: list[AbstractConnection] = []
        self._open = True

    async def run(self, commands: Sequence[bytes], *, timeout: float | None = None) -> list[Any]:
        """Send packed commands together, and return their replies; those that are errors as ``ResponseError``.

        A connection whose call failed or was cancelled is closed, as it may hold unread replies. If the server didn't
        answer in time, the idle connections are closed too.

        :raises redis.RedisError, OSError: a transport error; it is unknown which commands were executed.
        :raises TimeoutError: the deadline has passed; it is unknown which commands were executed.
        """
        async with asyncio.timeout(self._timeout if timeout is None else timeout), self._free:
            connection = await self._usable()
            since = asyncio.get_running_loop().time()
            try:
                await connection.connect()  # type: ignore[no-untyped-call] # the driver's
                await connection.send_packed_command(commands)
                replies = [await _reply(connection) for _ in commands]
            except BaseException:
                await _close(connection)
                if fell_silent(since):
                    await self.forget()
                raise
            if self._open:
                self._idle.append(connection)
            else:
                await _close(connection)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await self.forget()
        return replies

    async def forget(self) -> None:
        """Close the idle connections: they are lost, or the address belongs to another server now."""
        while self._idle:
            await _close(self._idle.pop())

    async def aclose(self) -> None:
        """Close all connections and wait for that. A connection in use closes when its call has ended."""
        self._open = False
        while self._idle:
            await self._idle.pop().disconnect()

    async def _usable(self) -> AbstractConnection:
        """The connection that was used last, if the server has not closed it."""
        while self._idle:
            connection = self._idle.pop()
            if not await _has_ended(connection):
                return connection
            await _close(connection)
        return await self._connect()


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _has_ended(connection: AbstractConnection) -> bool:
    """Whether there is unexpected input: the end of the stream, or the server's last message."""
    try:
        return bool(await _can_read(connection))
    except (OSError, RedisConnectionError):
        return True


async def _close(connection: AbstractConnection) -> None:
    """Never waits, so that it works in a cancelled call too."""
    await connection.disconnect(nowait=True)
