"""asyncpg alone: an UPDATE of the rows that a locking SELECT finds, and an UPDATE joined to arrays that settles, on one
connection.

It ignores the outcomes. The table and its indexes are the storage's.
"""

from __future__ import annotations

import asyncpg

from .common import BATCH, LEASE, NEXT, Driver, fill_storage, fresh, moments, opened

TAKE = """
UPDATE {table} AS t
SET ready_at = $2, locked_until = $2, locked_by = $4, revision = $4, fence = greatest(fence + 1, $1),
    attempt = attempt + 1
FROM (
    SELECT ctid FROM {table} WHERE queue = 'task' AND ready_at <= $1 ORDER BY ready_at LIMIT $3
    FOR UPDATE SKIP LOCKED
) AS f
WHERE t.ctid = f.ctid
RETURNING key, due_at, fence, spec
"""

SETTLE = """
UPDATE {table} AS t
SET due_at = $4, ready_at = $4, locked_until = NULL, locked_by = NULL, revision = g.revision, attempt = 0
FROM unnest($1::text[], $2::text[]) AS g (key, revision)
WHERE t.queue = 'task' AND t.key = g.key AND t.revision = $3
"""


class ByHand(Driver):
    async def connect(self) -> None:
        self._table: str = self.options["postgres_table_name"]
        self._take, self._settle = (statement.format(table=self._table) for statement in (TAKE, SETTLE))
        self._connection = await asyncpg.connect(self.options["postgres_url"])

    async def close(self) -> None:
        await self._connection.execute(f"DROP TABLE IF EXISTS {self._table}")
        await self._connection.close()

    async def fill(self, number: int) -> None:
        async with opened("postgres", self.options) as repository:
            await fill_storage(repository, number)

    async def tidy(self) -> None:
        await self._connection.execute(f"VACUUM ANALYZE {self._table}")

    async def batch(self) -> int:
        now, token = next(moments), fresh()
        rows = await self._connection.fetch(self._take, now, now + LEASE, BATCH, token)
        if rows:
            await self._connection.execute(self._settle, [row[0] for row in rows], [fresh() for _ in rows], token, NEXT)
        return len(rows)
