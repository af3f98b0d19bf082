"""What operators learn about the table: its index, capacity, settings that delete items, and the clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from pyncette.errors import RepositoryException
from pyncette.findings import Finding, format_found

from .connection import Database
from .schema import migrations, recognised
from .upgrade import Metadata

SKEW = 1.0
"""Seconds by which this machine's clock may certainly be off without a warning."""


async def diagnose(database: Database) -> list[Finding]:
    """All checks."""
    answer = await database.ask("describe_table", TableName=database.table)
    table: dict[str, Any] = answer["Table"]
    found = [_clock(database.skew), *_table(table, recognised(table, database.where)), await _time_to_live(database)]
    stored = await Metadata(database).format()
    return found if stored is None else [*found, format_found(stored, migrations())]


def _clock(skew: float) -> Finding:
    if abs(skew) <= SKEW:
        return Finding("clock", "ok", "this machine's agrees with DynamoDB's, to the second")
    where = "ahead of" if skew > 0 else "behind"
    found = f"this machine's is at least {abs(skew):.0f} s {where} DynamoDB's, and leases are judged by it"
    return Finding("clock", "problem", found, "synchronise it by chrony or systemd-timesyncd")


def _table(table: Mapping[str, Any], index: Mapping[str, Any]) -> Iterator[Finding]:
    size = f"{table.get('ItemCount', 0):,} items, {table.get('TableSizeBytes', 0) / 2**20:,.0f} MB, as of hours ago"
    if table["TableStatus"] in {"ACTIVE", "UPDATING"}:
        yield Finding("table", "ok", size)
    else:
        yield Finding("table", "problem", f"its status is {table['TableStatus']}", "see the console of DynamoDB")
    status = index.get("IndexStatus")
    if status in {"ACTIVE", "UPDATING"}:
        yield Finding("indexes", "ok", f"{index['IndexName']} is {status}")
    else:
        yield Finding("indexes", "problem", f"{index['IndexName']} is {status}: not everything is found", "wait for it")
    others = [each.get("RegionName", "") for each in table.get("Replicas", ())]
    if others:
        found = f"a global table, also in {', '.join(others)}, where others might hold the same lease"
        yield Finding("replicas", "warning", found, "run all workers in one region")
    capacity = table.get("ProvisionedThroughput", {})
    writes, reads = capacity.get("WriteCapacityUnits", 0), capacity.get("ReadCapacityUnits", 0)
    if writes:
        found = f"{writes:,} write and {reads:,} read units a second, that is at most {writes / 4:,.0f} executions"
        yield Finding("capacity", "ok", found)
    else:
        yield Finding("capacity", "ok", "on demand")


async def _time_to_live(database: Database) -> Finding:
    try:
        answer = await database.ask("describe_time_to_live", TableName=database.table)
    except RepositoryException as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and "AccessDenied" in cause.response.get("Error", {}).get("Code", ""):
            found = "the credentials don't allow to look"
            return Finding("time to live", "unknown", found, "allow dynamodb:DescribeTimeToLive")
        raise
    description = answer.get("TimeToLiveDescription", {})
    if description.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}:
        found = f"set, by the attribute {description.get('AttributeName')!r}: DynamoDB deletes items"
        return Finding("time to live", "problem", found, "switch it off: aws dynamodb update-time-to-live")
    return Finding("time to live", "ok", "none")
