"""asyncmy alone: a locking SELECT, an UPDATE of the keys found, and an UPDATE joined to a table of values that settles,
all on one connection.

It ignores the outcomes, but holds its locks for one round trip longer than the storage. The table and its indexes are
the storage's.
"""
# ruff: noqa: S608 - the statements are made of constants, of values that the driver quotes, and of a made-up name

from __future__ import annotations

from collections.abc import Callable

import asyncmy

from pyncette.mysql.connection import execute

from .common import BATCH, LEASE, NEXT, Driver, fill_storage, fresh, moments, opened


class ByHand(Driver):
    async def connect(self) -> None:
        self._table: str = self.options["mysql_table_name"]
        self._connection = await asyncmy.connect(
            host=self.options["mysql_host"],
            port=self.options["mysql_port"],
            user=self.options["mysql_user"],
            password=self.options["mysql_password"],
            database=self.options["mysql_database"],
            autocommit=True,
            init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        )

    async def close(self) -> None:
        await execute(self._connection, f"DROP TABLE IF EXISTS {self._table}")
        self._connection.close()

    async def fill(self, number: int) -> None:
        async with opened("mysql", self.options) as repository:
            await fill_storage(repository, number)

    async def tidy(self) -> None:
        await execute(self._connection, f"ANALYZE TABLE {self._table}")

    async def batch(self) -> int:
        now, token = next(moments), fresh()
        (_, rows) = await execute(
            self._connection,
            f"START TRANSACTION; SELECT queue, `key`, due_at, fence, spec FROM {self._table} WHERE queue = 'task' "
            f"AND ready_at <= {now} ORDER BY ready_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED",
        )
        if not rows:
            await execute(self._connection, "COMMIT")
            return 0
        quote: Callable[[object], str] = self._connection.escape
        keys = [quote(row[1]) for row in rows]
        await execute(
            self._connection,
            f"UPDATE {self._table} SET ready_at = {now + LEASE}, locked_until = {now + LEASE}, locked_by = '{token}', "
            f"revision = '{token}', fence = GREATEST(fence + 1, {now}), attempt = attempt + 1 "
            f"WHERE queue = 'task' AND `key` IN ({','.join(keys)}); COMMIT",
        )
        await execute(
            self._connection,
            f"UPDATE {self._new(keys)} JOIN {self._table} AS t ON t.queue = 'task' AND t.`key` = n.k "
            f"AND t.revision = '{token}' SET t.due_at = n.d, t.ready_at = n.d, t.locked_until = NULL, "
            "t.locked_by = NULL, t.revision = n.r, t.attempt = 0",
        )
        return len(rows)

    def _new(self, keys: list[str]) -> str:
        """A derived table of the new values of the records."""
        values = [f"({key},'{fresh()}',{NEXT})" for key in keys]
        if "MariaDB" in str(self._connection.get_server_info()):
            return f"(WITH v (k, r, d) AS (VALUES {','.join(values)}) SELECT * FROM v) AS n"
        return f"(VALUES {','.join(f'ROW{value}' for value in values)}) AS n (k, r, d)"
