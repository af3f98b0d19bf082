"""Simulates the next release, which a process can turn itself into.

It adds one format of the stored data, with an expanding and a contracting migration.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch
from urllib.parse import urlsplit

from pyncette.migrations import Migration, Phase


def become_next(url: str) -> None:
    """Make this process behave like one of the next release towards the storage at this URL."""
    _NEXT[urlsplit(url).scheme]()


def _sql(expand: str, contract: str) -> tuple[Migration[str], ...]:
    return (
        Migration(2, Phase.EXPAND, "0002_expand_note.sql", expand),
        Migration(2, Phase.CONTRACT, "0002_contract_note.sql", contract),
    )


def _postgres() -> None:
    from pyncette.postgres import schema

    steps = (
        *schema.migrations(),
        *_sql("ALTER TABLE {table} ADD COLUMN note text;", "ALTER TABLE {table} ALTER COLUMN note SET DEFAULT '';"),
    )
    patch.object(schema, "migrations", lambda: steps).start()


def _mysql() -> None:
    from pyncette.mysql import schema

    steps = (
        *schema.migrations(),
        *_sql(
            "ALTER TABLE {table} ADD COLUMN note TEXT NULL, COMMENT = {format};",
            "ALTER TABLE {table} ADD KEY note (note(10)), COMMENT = {format};",
        ),
    )
    patch.object(schema, "migrations", lambda: steps).start()


def _sqlite() -> None:
    from pyncette.sqlite import schema

    steps = [
        *schema.migrations(),
        *_sql('ALTER TABLE "{table}" ADD COLUMN note TEXT;', 'CREATE INDEX "{table}_note" ON "{table}" (note);'),
    ]
    patch.object(schema, "migrations", lambda: steps).start()


def _dynamodb() -> None:
    from pyncette.dynamodb import schema
    from pyncette.dynamodb.codec import Item, Value
    from pyncette.dynamodb.upgrade import Upgrade

    def noted(item: Item) -> dict[str, Value | None]:
        return {} if "note" in item else {"note": {"S": ""}}

    async def note(upgrade: Upgrade) -> None:
        await upgrade.rewrite(noted)

    steps = (
        *schema.migrations(),
        Migration(2, Phase.EXPAND, "0002_expand_note", note),
        Migration(2, Phase.CONTRACT, "0002_contract_note", note),
    )
    patch.object(schema, "migrations", lambda: steps).start()


def _redis() -> None:
    from pyncette.redis import schema, upgrade

    note = "for _, member in ipairs(ARGV) do redis.call('HSET', KEYS[1] .. ':note', member, '') end"
    steps = (
        *schema.migrations(),
        Migration(2, Phase.EXPAND, "0002_expand_note.lua", note),
        Migration(2, Phase.CONTRACT, "0002_contract_note.lua", note),
    )
    patch.object(schema, "migrations", lambda: steps).start()
    patch.object(upgrade, "BATCH", 10).start()


_NEXT: dict[str, Callable[[], None]] = {
    "dynamodb": _dynamodb,
    "mysql": _mysql,
    "postgresql": _postgres,
    "redis": _redis,
    "sqlite": _sqlite,
}
