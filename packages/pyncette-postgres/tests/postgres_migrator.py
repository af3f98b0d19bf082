"""A process of the next release that opens the storage. Arguments: URL, table, and the phase and SQL of each step."""

from __future__ import annotations

import asyncio
import sys

from pyncette.migrations import Migration, Phase
from pyncette.postgres.connection import connected
from pyncette.postgres.schema import Schema, prepare
from pyncette.postgres.settings import Settings, Table


async def migrate(url: str, table: str, expand: str, contract: str) -> None:
    settings = Settings(
        url=url,
        table=Table.parse(table),
        skip_table_create=False,
        pool_size=1,
        statement_cache_size=100,
        finish_upgrade=True,
    )
    steps = (
        *Schema.of(settings.table).steps,
        Migration(2, Phase.EXPAND, "0002_expand_b.sql", expand),
        Migration(2, Phase.CONTRACT, "0002_contract_b.sql", contract),
    )
    async with connected(settings) as database:
        await prepare(database, settings, Schema(settings.table, steps))


if __name__ == "__main__":
    asyncio.run(migrate(*sys.argv[1:]))
