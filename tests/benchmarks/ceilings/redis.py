"""redis-py alone: a Lua script that takes ready records and moves them, and a pipeline of HSET and ZADD that settles.

It ignores the outcomes and compares nothing.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from .common import BATCH, LEASE, NEXT, Driver, moments, records

TAKE = """
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #found == 0 then return {{}, {}} end
local moved = {}
for i = 1, #found do moved[2 * i - 1] = ARGV[3]; moved[2 * i] = found[i] end
redis.call('ZADD', KEYS[2], unpack(moved))
return {found, redis.call('HMGET', KEYS[1], unpack(found))}
"""


class ByHand(Driver):
    async def connect(self) -> None:
        self._namespace: str = self.options["redis_namespace"]
        self._keys = (f"{self._namespace}:rows", f"{self._namespace}:ready")
        self._client = Redis.from_url(self.options["redis_url"])
        self._script: Any = self._client.register_script(TAKE)

    async def close(self) -> None:
        async for key in self._client.scan_iter(match=f"*{self._namespace}*", count=1000):
            await self._client.unlink(key)  # deleting a million records at once would block the server
        await self._client.aclose()

    async def fill(self, number: int) -> None:
        everything = records(number)
        for start in range(0, number, 1000):
            some = everything[start : start + 1000]
            rows: dict[Any, Any] = {one.key: f"{one.due_at} {one.fence} {one.revision} {one.spec}" for one in some}
            await self._client.hset(self._keys[0], mapping=rows)
            await self._client.zadd(self._keys[1], {one.key: one.ready_at for one in some})

    async def batch(self) -> int:
        now = next(moments)
        keys, rows = await self._script(keys=self._keys, args=[now, BATCH, now + LEASE])
        if not keys:
            return 0
        pairs = (part for pair in zip(keys, rows, strict=True) for part in pair)
        async with self._client.pipeline(transaction=False) as pipeline:
            await pipeline.execute_command("HSET", self._keys[0], *pairs)
            await pipeline.execute_command("ZADD", self._keys[1], *(part for key in keys for part in (NEXT, key)))
            await pipeline.execute()
        return len(keys)
