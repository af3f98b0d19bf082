"""Adapts a connection of psycopg, the synchronous driver of Django and others, to the interface of asyncpg.

The calling thread waits for each statement, so only one thread at a time uses the connection. Errors become those of
asyncpg, which the rest of this package expects.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg


class Psycopg:
    """The part of asyncpg's connection that this package uses."""

    def __init__(self, connection: Any, driver: Any) -> None:
        self._connection = connection
        self._driver = driver

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return await asyncio.to_thread(self._fetch, query, arguments)

    async def execute(self, script: str) -> None:
        await asyncio.to_thread(self._execute, script)

    def is_closed(self) -> bool:
        return bool(self._connection.closed)

    def is_in_transaction(self) -> bool:
        """Without autocommit, the driver begins a transaction with the first statement."""
        idle = self._connection.info.transaction_status == self._driver.pq.TransactionStatus.IDLE
        return not (idle and self._connection.autocommit)

    def _fetch(self, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        with self._as_asyncpg(), self._driver.RawCursor(self._connection) as cursor:
            cursor.row_factory = self._driver.rows.tuple_row
            rows: list[Any] = cursor.execute(query, arguments).fetchall()
            return rows

    def _execute(self, script: str) -> None:
        with self._as_asyncpg(), self._driver.Cursor(self._connection) as cursor:
            cursor.execute(script)

    @contextmanager
    def _as_asyncpg(self) -> Iterator[None]:
        try:
            yield
        except (self._driver.DataError, UnicodeError) as error:
            raise asyncpg.DataError(str(error)) from error
        except self._driver.Error as error:
            if error.sqlstate is None:
                raise ConnectionError(str(error)) from error
            raise asyncpg.PostgresError.new({"C": error.sqlstate, "M": str(error)}) from error


def psycopg(connection: Any) -> Psycopg | None:
    """An adapter if it is a connection of psycopg 3, else None."""
    driver = sys.modules.get("psycopg")
    return Psycopg(connection, driver) if driver is not None and isinstance(connection, driver.Connection) else None
