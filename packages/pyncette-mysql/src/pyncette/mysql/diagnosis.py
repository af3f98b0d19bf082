"""What operators learn about the server and the table: durability, permissions, and what holds back the purge of old
rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.findings import Finding, format_found, share_found

from .codec import Dialect
from .connection import Rows, Server
from .errors import COMMAND_DENIED, number
from .schema import Found, Schema, found_in, inspection, recognised
from .settings import Settings, runs_table

OLD = 300
"""Seconds after which an open transaction is reported."""

LONG_HISTORY = 1_000_000
"""The length of InnoDB's history list, in transactions, from which on it is reported."""

FREE = 100 * 2**20
"""Free space within the table's file is reported from this number of bytes on, if it is more than half of the file."""

_SETTINGS = """
SHOW SESSION VARIABLES WHERE variable_name IN ('version', 'transaction_isolation', 'tx_isolation', 'log_bin',
    'binlog_format', 'innodb_flush_log_at_trx_commit', 'sync_binlog', 'innodb_doublewrite', 'max_connections');
SHOW GLOBAL STATUS WHERE variable_name = 'Threads_connected'
"""
_FRESH = "SET SESSION information_schema_stats_expiry = 0;"
_SIZES = """
SELECT data_length, index_length, data_free FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = '{table}'
"""
_TRANSACTIONS = """
SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx
WHERE trx_mysql_thread_id NOT IN (0, CONNECTION_ID()) ORDER BY 2 DESC LIMIT 5;
SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'
"""
# Each needs the privilege, but changes nothing.
_PROBES = {
    "SELECT": "SELECT 1 FROM `{table}` WHERE FALSE",
    "INSERT": "INSERT INTO `{table}` SELECT * FROM `{table}` WHERE FALSE",
    "UPDATE": "UPDATE `{table}` SET queue = queue WHERE FALSE",
    "DELETE": "DELETE FROM `{table}` WHERE FALSE",
}


async def diagnose(database: Server, settings: Settings) -> list[Finding]:
    """All checks."""
    variables, status = await database.run(_SETTINGS)
    server = {str(name).lower(): str(value) for name, value in variables}
    found = list(_server(server))
    ((_, connected),) = status
    advice = "lower mysql_pool_size, or raise max_connections"
    used, most = int(connected), int(server["max_connections"])
    found.append(share_found("connections", used, most, f"{used:,} of {most:,}", advice))
    found += await _permissions(database, settings)
    table = found_in(await database.run(inspection(settings)))
    found += _table(table, settings)
    fresh = _FRESH if table.dialect is Dialect.MYSQL else ""
    found.append(_bloat((await database.run(fresh + _SIZES.format(table=settings.table_name)))[-1], settings))
    found += await _transactions(database)
    return found


def _server(server: Mapping[str, str]) -> Iterator[Finding]:
    yield Finding("server", "ok", server["version"])
    logged = server["log_bin"] in ("ON", "1")
    if server["innodb_doublewrite"] in ("OFF", "0"):
        found = "innodb_doublewrite off: a crash of the machine may destroy the database"
        yield Finding("durability", "problem", found, "set innodb_doublewrite on")
    lost = []
    if (flush := server["innodb_flush_log_at_trx_commit"]) != "1":
        lost.append(f"innodb_flush_log_at_trx_commit {flush}")
    if logged and (sync := server["sync_binlog"]) != "1":
        lost.append(f"sync_binlog {sync}")
    if lost:
        found = f"{' and '.join(lost)}: a crash of the machine loses the last moments, which are executed again"
        yield Finding("durability", "warning", found, "set 1")
    else:
        yield Finding("durability", "ok", "each commit is on the disk")
    if logged and server["binlog_format"] == "STATEMENT":
        found = "STATEMENT, with which the server refuses every write"
        yield Finding("binary log", "problem", found, "set binlog_format ROW")
    isolation = server.get("transaction_isolation") or server["tx_isolation"]
    if isolation == "READ-COMMITTED":
        yield Finding("isolation", "ok", isolation)
    else:
        yield Finding(
            "isolation",
            "warning",
            f"{isolation}, though each session begins with READ COMMITTED: claims lock gaps, and wait for each other",
            "see to it that a proxy keeps what is set for a session, or set transaction_isolation READ-COMMITTED there",
        )


async def _permissions(database: Server, settings: Settings) -> list[Finding]:
    lacking = []
    for table in (settings.table_name, runs_table(settings.table_name)):
        missing = [name for name, probe in _PROBES.items() if not await _may(database, probe.format(table=table))]
        if missing:
            lacking.append(f"GRANT {', '.join(missing)} ON {settings.database}.{table}")
    if not lacking:
        return [Finding("permissions", "ok", "the user may read and write the tables")]
    found = "the user lacks privileges on the tables"
    return [Finding("permissions", "problem", found, f"{'; '.join(lacking)} TO {settings.user!r}")]


async def _may(database: Server, statement: str) -> bool:
    """Whether the user has the privilege. If the statement fails for another reason, other checks report that."""
    try:
        await database.run(statement)
    except RepositoryUnavailableException:
        raise
    except RepositoryException as error:
        return number(error.__cause__) not in COMMAND_DENIED
    return True


def _table(table: Found, settings: Settings) -> list[Finding]:
    schema = Schema.of(settings.table_name)
    try:
        stored = recognised(table, schema, settings.where)
    except RepositoryException as error:
        return [Finding("table", "problem", str(error), "undo what was changed by hand")]
    if stored is None:
        return [Finding("table", "problem", f"there is no table {settings.table_name}", "start an app, which makes it")]
    return [format_found(stored, schema.steps), Finding("indexes", "ok", "all there, on the columns that are needed")]


def _bloat(rows: Rows, settings: Settings) -> Finding:
    data, indexes, free = (int(value or 0) for value in rows[0]) if rows else (0, 0, 0)
    found = f"{(data + indexes) / 2**20:,.0f} MB, and {free / 2**20:,.0f} MB that hold nothing"
    if free > max(FREE, data + indexes):
        return Finding("bloat", "warning", found, f"OPTIMIZE TABLE {settings.table_name}, when little is due")
    return Finding("bloat", "ok", found)


async def _transactions(database: Server) -> list[Finding]:
    """An old transaction keeps the server from purging deleted rows, which each claim then has to scan."""
    try:
        sessions, metrics = await database.run(_TRANSACTIONS)
    except RepositoryException as error:
        if number(error.__cause__) not in COMMAND_DENIED:
            raise
        return [Finding("transactions", "unknown", "the user may not see those of others", "GRANT PROCESS ON *.*")]
    return [_old(sessions), *_history(metrics)]


def _old(sessions: Sequence[Any]) -> Finding:
    old = [f"{thread} (for {seconds:,} s)" for thread, seconds in sessions if seconds > OLD]
    if not old:
        return Finding("transactions", "ok", f"none has been open for {OLD} s")
    return Finding("transactions", "warning", f"open in the connections {', '.join(old)}", "end them: KILL NUMBER")


def _history(metrics: Sequence[Any]) -> Iterator[Finding]:
    for (length,) in metrics:
        if length > LONG_HISTORY:
            found = f"{length:,} transactions whose old rows are still there"
            yield Finding("purge", "warning", found, "end old transactions, or raise innodb_purge_threads")
