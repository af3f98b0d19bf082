"""What operators learn about the server and the table: durability, permissions, indexes, and what holds vacuum back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pyncette.findings import Finding, format_found, share_found

from .connection import Server
from .schema import Schema, recognised
from .settings import Settings, Table

OLD = 300
"""Seconds after which a transaction that holds vacuum back is reported."""

OLD_SLOT = 100_000
"""The number of transactions by which a replication slot may hold vacuum back before it is reported."""

DEAD_ROWS = 50_000
"""Dead rows are reported from this number on, if there are more than half as many as live rows."""

LARGE_INDEX = 100 * 2**20
"""An index of at least this many bytes is reported if it is larger than its table."""

_SETTINGS = """
SELECT name, setting FROM pg_settings WHERE name IN ('server_version', 'fsync', 'full_page_writes',
    'synchronous_commit', 'autovacuum', 'max_connections', 'superuser_reserved_connections', 'transaction_isolation')
"""
_CONNECTIONS = "SELECT sum(numbackends)::bigint FROM pg_stat_database"
_TABLE = """
SELECT obj_description(c.oid, 'pg_class') AS comment, c.relkind::text AS kind, pg_relation_size(c.oid) AS size,
       coalesce(s.n_live_tup, 0) AS live, coalesce(s.n_dead_tup, 0) AS dead,
       coalesce('autovacuum_enabled=false' = ANY(c.reloptions) OR 'autovacuum_enabled=off' = ANY(c.reloptions), false)
           AS never_vacuumed,
       (SELECT bool_and(has_table_privilege(c.oid, r)) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r)
           AS usable
FROM pg_class AS c LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
WHERE c.oid = to_regclass($1)
"""
_INDEXES = """
SELECT i.relname::text AS name, x.indisvalid AND x.indisready AS usable, pg_relation_size(i.oid) AS size
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid WHERE x.indrelid = to_regclass($1)
"""
# Without the right to read statistics, other users' sessions show nothing but that they exist.
_SEES_ALL = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"
_HOLDING = """
SELECT format('%s, process %s%s', coalesce(nullif(application_name, ''), 'a session'), pid,
              CASE state WHEN 'idle in transaction' THEN ', idle in transaction' ELSE '' END) AS who,
       extract(epoch FROM clock_timestamp() - xact_start)::float AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND coalesce(backend_xid, backend_xmin) IS NOT NULL
UNION ALL
SELECT format('the prepared transaction %L', gid), extract(epoch FROM clock_timestamp() - prepared)::float
FROM pg_prepared_xacts WHERE database = current_database()
ORDER BY seconds DESC
LIMIT 20
"""
_SLOTS = """
SELECT slot_name::text AS who, age(xmin)::bigint AS behind FROM pg_replication_slots WHERE xmin IS NOT NULL
ORDER BY behind DESC LIMIT 20
"""


async def diagnose(database: Server, settings: Settings) -> list[Finding]:
    """All checks. If the table has been dropped, this raises, as other calls do."""
    schema = Schema.of(settings.table)
    server = {row["name"]: row["setting"] for row in await database.fetch(_SETTINGS)}
    ((connections,),) = await database.fetch(_CONNECTIONS)
    found = [*_server(server), _connections(server, connections or 0)]
    tables = {}
    for table in (settings.table, settings.table.runs):
        rows = await database.fetch(_TABLE, table.sql)
        tables[table] = rows[0] if rows else None
    found += _permissions(tables)
    about = tables[settings.table]
    if about is not None:
        found.append(
            format_found(recognised(schema, about["comment"], about["kind"], (), database.where), schema.steps)
        )
        found.append(_indexes(settings.table, about["size"], await database.fetch(_INDEXES, settings.table.sql)))
        found += _vacuum(server, settings.table, about)
    ((sees_all,),) = await database.fetch(_SEES_ALL)
    found += _holding(await database.fetch(_HOLDING), await database.fetch(_SLOTS), sees_all=sees_all)
    return found


def _server(server: Mapping[str, str]) -> Iterator[Finding]:
    yield Finding("server", "ok", f"PostgreSQL {server['server_version']}")
    off = [name for name in ("fsync", "full_page_writes") if server[name] == "off"]
    if off:
        found = f"{' and '.join(off)} off: a crash of the machine may destroy the database"
        yield Finding("durability", "problem", found, f"set {' and '.join(off)} on")
    elif server["synchronous_commit"] == "off":
        found = "synchronous_commit off: a crash of the server loses the last moments, which are executed again"
        yield Finding("durability", "warning", found, "set synchronous_commit on for the user of postgres_url")
    else:
        yield Finding("durability", "ok", f"synchronous_commit {server['synchronous_commit']}")
    isolation = server["transaction_isolation"]
    if isolation == "read committed":
        yield Finding("isolation", "ok", isolation)
    else:
        yield Finding(
            "isolation",
            "warning",
            f"{isolation}: what others have just changed is an error there, after which a statement is sent again",
            "leave default_transaction_isolation out of postgres_url; behind a proxy, ALTER ROLE ... SET "
            "default_transaction_isolation = 'read committed'",
        )


def _connections(server: Mapping[str, str], used: int) -> Finding:
    most = int(server["max_connections"]) - int(server["superuser_reserved_connections"])
    advice = "lower postgres_pool_size, raise max_connections, or put a proxy in between"
    return share_found("connections", used, most, f"{used:,} of {most:,}", advice)


def _permissions(tables: Mapping[Table, Any]) -> list[Finding]:
    lacking = [str(table) for table, row in tables.items() if row is None or not row["usable"]]
    if not lacking:
        return [Finding("permissions", "ok", "the user may read and write the tables")]
    tasks = next(iter(tables))
    return [
        Finding(
            "permissions",
            "problem" if str(tasks) in lacking else "warning",
            f"{' and '.join(lacking)}: not there, or not for this user to read and write",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(lacking)}",
        )
    ]


def _indexes(table: Table, size: int, rows: Sequence[Any]) -> Finding:
    usable = {row["name"]: row["usable"] for row in rows}
    wanted = [f"{table.name}_{suffix}" for suffix in ("key", "ready", "static")]
    missing = [name for name in wanted if name not in usable]
    if missing:
        advice = "make them as `pyncette schema print` has them, or pyncette.postgres.schema_sql()"
        return Finding("indexes", "problem", f"{', '.join(missing)}: missing, so that all rows are read", advice)
    broken = [name for name in wanted if not usable[name]]
    if broken:
        reindex = "; ".join(f"REINDEX INDEX CONCURRENTLY {name}" for name in broken)
        return Finding("indexes", "problem", f"{', '.join(broken)}: not valid, so that all rows are read", reindex)
    large = [row["name"] for row in rows if row["size"] > max(LARGE_INDEX, size)]
    if large:
        reindex = "; ".join(f"REINDEX INDEX CONCURRENTLY {name}" for name in large)
        return Finding("indexes", "warning", f"{', '.join(large)}: larger than the table", reindex)
    return Finding("indexes", "ok", f"{len(wanted)}, all valid")


def _vacuum(server: Mapping[str, str], table: Table, about: Any) -> Iterator[Finding]:
    if server["autovacuum"] == "off" or about["never_vacuumed"]:
        advice = (
            "set autovacuum on" if server["autovacuum"] == "off" else f"ALTER TABLE {table} RESET (autovacuum_enabled)"
        )
        yield Finding("vacuum", "problem", "autovacuum is off: the table grows with each execution", advice)
    live, dead = about["live"], about["dead"]
    found = f"{dead:,} dead rows, {live:,} others"
    if dead > max(DEAD_ROWS, live / 2):
        yield Finding("bloat", "warning", found, f"see what holds vacuum back, then VACUUM {table}")
    else:
        yield Finding("bloat", "ok", found)


def _holding(sessions: Iterable[Any], slots: Iterable[Any], *, sees_all: bool) -> Iterator[Finding]:
    """What keeps vacuum from removing dead rows and index entries, which each claim then has to scan."""
    old = [f"{row['who']} (for {row['seconds']:,.0f} s)" for row in sessions if row["seconds"] > OLD]
    if old:
        advice = "end it: SELECT pg_terminate_backend(PROCESS), or ROLLBACK PREPARED"
        yield Finding("transactions", "warning", f"one holds vacuum back: {'; '.join(old)}", advice)
    elif not sees_all:
        found = "those of other users can't be seen"
        yield Finding("transactions", "unknown", found, "GRANT pg_read_all_stats to the user of postgres_url")
    else:
        yield Finding("transactions", "ok", f"none has held vacuum back for {OLD} s")
    behind = [f"{row['who']} ({row['behind']:,} transactions)" for row in slots if row["behind"] > OLD_SLOT]
    if behind:
        advice = "bring its consumer back, or SELECT pg_drop_replication_slot(NAME)"
        yield Finding("replication slots", "warning", f"one holds vacuum back: {'; '.join(behind)}", advice)
