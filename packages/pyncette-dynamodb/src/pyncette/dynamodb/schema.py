"""The table: created if it doesn't exist, otherwise checked and upgraded.

Its format is stored in an item of the table, see :mod:`~pyncette.dynamodb.upgrade`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from typing import Any

from botocore.exceptions import ClientError

from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from pyncette.migrations import Format, Migration, Phase, newest, plan

from .codec import FORMAT, INDEX, PROJECTED, Layout, text
from .connection import Database
from .errors import DRIVER_ERRORS, translated
from .settings import Settings
from .upgrade import Metadata, Step, Upgrade, carry_out_steps

logger: logging.Logger = logging.getLogger(__name__)

CREATION_TIMEOUT = 300.0
"""Seconds to wait for a table that is being created."""

_LOOK_AGAIN = 1.0  # seconds

_ONE_OF_OURS = re.compile(r"pyncette-ready-(\d+)")
_VERSION = int(INDEX.rpartition("-")[2])

_KEYS = [("pk", "HASH", "S"), ("sk", "RANGE", "S")]
_INDEX_KEYS = [("pk", "HASH", "S"), ("ready_at", "RANGE", "N")]
_KEYS_OF_1_1_0 = [("partition_id", "HASH", "S"), ("task_id", "RANGE", "S")]

_Keys = list[tuple[str, str, str]]


def table_definition(table_name: str = "pyncette_tasks") -> dict[str, Any]:
    """The input of ``aws dynamodb create-table --cli-input-json``, and the keywords of boto3's ``create_table``."""
    return {
        "TableName": table_name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, _, kind in (*_KEYS, _INDEX_KEYS[1])
        ],
        "KeySchema": [{"AttributeName": name, "KeyType": role} for name, role, _ in _KEYS],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": INDEX,
                "KeySchema": [{"AttributeName": name, "KeyType": role} for name, role, _ in _INDEX_KEYS],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(PROJECTED)},
            }
        ],
    }


async def _table_is_made(_: Upgrade) -> None:
    """Nothing to do: the table exists, as it stores the progress of the upgrade."""


def migrations() -> tuple[Migration[Step], ...]:
    """All migrations that this release knows. A new table is created as :func:`table_definition` says, and gets them
    all."""
    return (Migration(1, Phase.EXPAND, "0001_expand_table", _table_is_made),)


async def prepare(database: Database, settings: Settings) -> None:
    """Create or upgrade the table if necessary, unless the settings forbid it, and wait until it is ready. Several
    processes may do this at the same time.

    :raises StorageVersionException: the table is not Pyncette's, or of a version that this release can't handle. It was
        left unchanged.
    :raises RepositoryException: the table doesn't exist and can't be created, DynamoDB can't be used, or this machine's
        clock is wrong.
    """
    table = await _look(database)
    database.check_clock()
    if table is None and settings.skip_table_create:
        raise RepositoryException(
            f"{database.where} does not exist, and must not be created. Create it as "
            f"pyncette.dynamodb.table_definition({settings.table!r}) says, leave out dynamodb_skip_table_create, or "
            "correct dynamodb_table_name or dynamodb_region_name."
        )
    if table is None:
        await _make(database, settings.table)
    deadline = time.monotonic() + CREATION_TIMEOUT
    while table is None or not _is_ready(table, database.where):
        if time.monotonic() > deadline:
            raise RepositoryUnavailableException(f"{database.where} is still not ready after {CREATION_TIMEOUT:.0f} s.")
        await asyncio.sleep(_LOOK_AGAIN if table else _LOOK_AGAIN / 10)
        table = await _look(database)
    await _bring_up_to_date(database, settings)


async def _bring_up_to_date(database: Database, settings: Settings) -> None:
    metadata, steps = Metadata(database), migrations()

    async def pending() -> tuple[Format | None, list[Migration[Step]]]:
        stored = await metadata.format() or await _missing_format(database, settings, metadata, newest(steps))
        wanted = plan(
            stored, steps, finish=settings.finish_upgrade, where=database.where, distribution="pyncette-dynamodb"
        )
        if wanted and stored and settings.skip_table_create:
            raise StorageVersionException(
                f"{database.where} has format {stored.written_by}, this release of pyncette-dynamodb needs format "
                f"{newest(steps)}: start it once without dynamodb_skip_table_create."
            )
        return stored, wanted

    await carry_out_steps(database, metadata, pending)


async def _missing_format(database: Database, settings: Settings, metadata: Metadata, known: int) -> Format | None:
    """The format of a table that had none a moment ago.

    :raises StorageVersionException: the table has lost its format.
    """
    queues = await database.ask(
        "query",
        TableName=database.table,
        ConsistentRead=True,
        Limit=1,
        KeyConditionExpression="pk = :place",
        ExpressionAttributeValues={":place": text(Layout(settings.partition_prefix).registry)},
    )
    # In this order: a process stores the format before anything else.
    stored = await metadata.format()
    if stored is None and queues["Items"]:
        item = {**FORMAT, "written_by": {"N": str(known)}, "readable_from": {"N": str(known)}}
        raise StorageVersionException(
            f"{database.where} has records, but the item that says which format they have is gone. It was left as it "
            f"is. If they were written by this release, restore it: aws dynamodb put-item --table-name "
            f"{database.table} --item '{json.dumps(item)}'"
        )
    return stored


async def _look(database: Database) -> dict[str, Any] | None:
    """The table's description; None if there is no table."""
    try:
        answer = await database.send("describe_table", TableName=database.table)
    except DRIVER_ERRORS as error:
        if _is(error, "ResourceNotFoundException"):
            return None
        if _is(error, "InvalidSignatureException"):
            database.check_clock()
        raise translated(error, database.where) from error
    table: dict[str, Any] = answer["Table"]
    return table


async def _make(database: Database, name: str) -> None:
    try:
        await database.send("create_table", **table_definition(name))
    except DRIVER_ERRORS as error:
        if _is(error, "ResourceInUseException"):  # another process was faster
            return
        if _is(error, "AccessDeniedException"):
            raise RepositoryException(
                f"{database.where} does not exist, and the credentials don't allow creating it. Allow "
                "dynamodb:CreateTable, or have somebody make it who may, as "
                f"pyncette.dynamodb.table_definition({name!r}) says."
            ) from error
        raise translated(error, database.where) from error
    logger.info("Creating the table %s.", name)


def _is_ready(table: dict[str, Any], where: str) -> bool:
    """Whether the table can be used; False if it isn't ready yet.

    :raises StorageVersionException: it is not a table of Pyncette's.
    """
    status = table["TableStatus"]
    if status == "DELETING":
        raise RepositoryUnavailableException(f"{where} is being deleted.")
    index = recognised(table, where)
    if status not in {"CREATING", "ACTIVE", "UPDATING"}:
        raise RepositoryException(f"{where} can't be used, its status is {status}.")
    return status != "CREATING" and index.get("IndexStatus") not in {"CREATING", "DELETING"}


def recognised(table: dict[str, Any], where: str) -> dict[str, Any]:
    """The index of the table.

    :raises StorageVersionException: it is not a table of Pyncette's, or one of another version.
    """
    indexes: dict[str, dict[str, Any]] = {
        index["IndexName"]: index for index in table.get("GlobalSecondaryIndexes", [])
    }
    keys = _keys(table, table)
    if keys == _KEYS_OF_1_1_0:
        raise StorageVersionException(
            f"{where} was written by Pyncette 1.x, and this release can't read it. It was left as it is. Give another "
            "dynamodb_table_name, and schedule the instances again."
        )
    versions = [int(found[1]) for found in map(_ONE_OF_OURS.fullmatch, indexes) if found]
    newer = [version for version in versions if version > _VERSION]
    if newer and INDEX not in indexes:
        raise StorageVersionException(
            f"{where} has schema version {max(newer)}; this release of pyncette-dynamodb knows versions up to "
            f"{_VERSION}. It was left as it is. Upgrade pyncette-dynamodb, or give another dynamodb_table_name."
        )
    index = indexes.get(INDEX)
    if keys != _KEYS or index is None or _keys(index, table) != _INDEX_KEYS or not _projects(index):
        raise StorageVersionException(
            f"{where} exists, but is not a table of Pyncette. It was left as it is. Give another dynamodb_table_name, "
            "or create it as pyncette.dynamodb.table_definition() says, with all keys and the index."
        )
    return index


def _keys(keyed: dict[str, Any], table: dict[str, Any]) -> _Keys:
    """Names, roles and types of the keys of a table or of its index."""
    types = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    return [(key["AttributeName"], key["KeyType"], types[key["AttributeName"]]) for key in keyed["KeySchema"]]


def _projects(index: dict[str, Any]) -> bool:
    """Whether the index contains the attributes that claims need."""
    projection = index["Projection"]
    return projection["ProjectionType"] == "ALL" or set(projection.get("NonKeyAttributes", ())) >= set(PROJECTED)


def _is(error: Exception, code: str) -> bool:
    return isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") == code
