"""A process of the next release that opens the storage. Arguments: options as JSON, expanding and contracting SQL."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from unittest.mock import patch

from pyncette.migrations import Migration, Phase
from pyncette.mysql import mysql_repository, schema


async def migrate(options: dict[str, Any], expand: str, contract: str) -> None:
    steps = (
        *schema.migrations(),
        Migration(2, Phase.EXPAND, "0002_expand_b.sql", expand),
        Migration(2, Phase.CONTRACT, "0002_contract_b.sql", contract),
    )
    with patch.object(schema, "migrations", lambda: steps):
        async with mysql_repository(**options):
            pass


if __name__ == "__main__":
    asyncio.run(migrate(json.loads(sys.argv[1]), *sys.argv[2:]))
