"""A process that upgrades a namespace, and stops after three batches, where the test kills it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from pyncette.migrations import Migration, Phase
from pyncette.redis import redis_repository, schema, upgrade
from pyncette.redis.client import Client


async def main(url: str, namespace: str, step: str) -> None:
    steps = (*schema.migrations(), Migration(2, Phase.EXPAND, "0002_expand_b.lua", step))
    upgrade.BATCH = 10
    upgrade.LOCK_SECONDS = 1
    schema.migrations = lambda: steps
    plain, batches = Client.one, 0

    async def one(self: Client, call: Any) -> Any:
        nonlocal batches
        if call.script is not None and call.script.name == "0002_expand_b.lua":
            batches += 1
        if batches == 4:
            print("3 batches", flush=True)  # noqa: T201 - for the test
            time.sleep(600)  # noqa: ASYNC251 - it blocks until it is killed
        return await plain(self, call)

    Client.one = one  # type: ignore[method-assign]  # on purpose
    async with redis_repository(redis_url=url, redis_namespace=namespace):
        pass


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
