"""One Redis server: a bounded pool of connections, and pipelined commands over one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ReadOnlyError, ResponseError


class Node:
    """Several calls may be under way at the same time, each on a connection of its own.

    The driver's own retries and timeouts are off: a write must not be repeated by it, and one deadline covers all of a
    call: waiting for a connection, connecting, sending, and all replies.

    :ivar address: for messages.
    """

    def __init__(self, address: str, pool: ConnectionPool, *, timeout: float) -> None:
        self.address = address
        self._pool = pool
        self._timeout = timeout
        self._free = asyncio.Semaphore(pool.max_connections)

    async def run(self, commands: Sequence[bytes], *, timeout: float | None = None) -> list[Any]:
        """Send packed commands together, and return their replies; those that are errors as ``ResponseError``.

        A call that fails or is cancelled leaves no connection with replies that nobody has read.

        :raises redis.RedisError, OSError: transport errors, after which it is unknown what was carried out.
        :raises TimeoutError: the deadline has passed; the same.
        """
        async with asyncio.timeout(self._timeout if timeout is None else timeout), self._free:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call] # the driver's
            try:
                await connection.send_packed_command(commands)
                replies = [await _reply(connection) for _ in commands]
            finally:
                # Never waits: nobody holds the pool's lock while waiting for something.
                await self._pool.release(connection)
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            await self.forget()
        return replies

    async def forget(self) -> None:
        """Close idle connections. The address may lead to another server by now."""
        await self._pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        await self._pool.aclose()


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
