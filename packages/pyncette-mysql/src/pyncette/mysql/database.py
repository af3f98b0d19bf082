"""Sends scripts to the server: in time, again after a deadlock, and with errors of ours."""

from __future__ import annotations

import asyncio
import random

from .connections import Connections, Rows, execute
from .failures import DRIVER_ERRORS, LOCK_WAIT_TIMEOUT, NOTHING_APPLIED, number, translated

CALL_SECONDS = 30.0
"""How long a call may take in all, the wait for a connection included."""

ATTEMPTS = 10
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.5


class Database:
    """A database on a server.

    :ivar max_packet: the largest packet, and so the longest script, that the server takes, in bytes.
    """

    def __init__(self, connections: Connections, max_packet: int) -> None:
        self._connections = connections
        self.max_packet = max_packet

    async def run(self, script: str) -> list[Rows]:
        """Run a script in one round trip: the rows of each statement. If more than one writes, it is a transaction.

        A script that the server has undone because of a deadlock is run again.

        :raises RepositoryUnavailableException: whether it was carried out is not known.
        :raises RecordRefusedException: the server does not store this.
        :raises RepositoryException: any other error.
        """
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self._run(script)
        except DRIVER_ERRORS as error:
            raise translated(error) from error

    async def _run(self, script: str) -> list[Rows]:
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._once(script)
            except DRIVER_ERRORS as error:
                if number(error) not in NOTHING_APPLIED or number(error) == LOCK_WAIT_TIMEOUT:
                    raise
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads clients, guards nothing
        return await self._once(script)

    async def _once(self, script: str) -> list[Rows]:
        async with self._connections.lend() as connection:
            return await execute(connection, script)
