"""aioboto3 alone: all four places of the index are queried concurrently for a quarter of the batch each, and the
conditional statements are sent 25 per request, all concurrently.

It ignores the outcomes. The table and its index are the storage's.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import aioboto3
from aiobotocore.config import AioConfig

from .common import BATCH, LEASE, NEXT, Driver, fill_storage, fresh, moments, opened

STATEMENTS = 25
PLACES = 4

TAKE = (
    'UPDATE "{table}" SET "ready_at"=? SET "locked_until"=? SET "locked_by"=? SET "revision"=? SET "fence"=? '
    'SET "attempt"=? WHERE "pk"=? AND "sk"=? AND "revision"=? RETURNING ALL NEW *'
)
SETTLE = (
    'UPDATE "{table}" SET "due_at"=? SET "ready_at"=? SET "locked_until"=? SET "locked_by"=? SET "revision"=? '
    'SET "attempt"=? WHERE "pk"=? AND "sk"=? AND "revision"=?'
)


class ByHand(Driver):
    async def connect(self) -> None:
        self._table: str = self.options["dynamodb_table_name"]
        self._stack = AsyncExitStack()
        self._client: Any = await self._stack.enter_async_context(
            aioboto3.Session().client(
                "dynamodb",
                region_name=self.options["dynamodb_region_name"],
                endpoint_url=self.options["dynamodb_endpoint"],
                config=AioConfig(
                    max_pool_connections=32, parameter_validation=False, retries={"total_max_attempts": 1}
                ),
            )
        )

    async def close(self) -> None:
        async with self._stack:
            with suppress(self._client.exceptions.ResourceNotFoundException):
                await self._client.delete_table(TableName=self._table)
                waiter = self._client.get_waiter("table_not_exists")
                await waiter.wait(TableName=self._table, WaiterConfig={"Delay": 2})

    async def fill(self, number: int) -> None:
        async with opened("dynamodb", self.options) as repository:
            await fill_storage(repository, number)

    async def batch(self) -> int:
        now, token = str(next(moments)), fresh()
        until = {"N": str(int(now) + LEASE)}
        pages = await asyncio.gather(*(self._ready(f":{place}:task", now) for place in range(PLACES)))
        items = [item for page in pages for item in page]
        lease = [until, until, {"S": f"benchmark:{token}"}, {"S": token}, {"N": now}, {"N": "1"}]
        await self._execute(TAKE, [[*lease, item["pk"], item["sk"], item["revision"]] for item in items])
        later, nothing, none = {"N": str(NEXT)}, {"NULL": True}, {"N": "0"}
        await self._execute(
            SETTLE,
            [
                [later, later, nothing, nothing, {"S": fresh()}, none, item["pk"], item["sk"], {"S": token}]
                for item in items
            ],
        )
        return len(items)

    async def _ready(self, place: str, now: str) -> list[dict[str, Any]]:
        answer = await self._client.query(
            TableName=self._table,
            IndexName="pyncette-ready-1",
            Limit=BATCH // PLACES,
            KeyConditionExpression="pk = :place AND ready_at <= :now",
            ExpressionAttributeValues={":place": {"S": place}, ":now": {"N": now}},
        )
        items: list[dict[str, Any]] = answer["Items"]
        return items

    async def _execute(self, statement: str, parameters: list[list[Any]]) -> None:
        text = statement.format(table=self._table)
        statements = [{"Statement": text, "Parameters": one} for one in parameters]
        await asyncio.gather(
            *(
                self._client.batch_execute_statement(Statements=statements[start : start + STATEMENTS])
                for start in range(0, len(statements), STATEMENTS)
            )
        )
