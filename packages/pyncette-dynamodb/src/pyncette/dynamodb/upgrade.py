"""Upgrades a table migration by migration while other processes use it.

DynamoDB has neither locks nor transactions over a whole table. So two items of the table, which are not in the index,
store the progress: one the format, the other the lock, with its owner and the last page done. The owner renews the lock
before each page of items. If it is killed, another process continues after its last page once the lock has expired. A
process that was only suspended may find that it was overtaken. Its remaining writes are harmless: each is conditional
on the item as it was read, and makes the same change as the other process.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio

from pyncette.errors import RepositoryException
from pyncette.migrations import Format, Migration

from .codec import FORMAT, LOCK, Item, Value, number, text
from .connection import Database
from .errors import Outcome
from .statements import Statement, carry_out

logger: logging.Logger = logging.getLogger(__name__)

LOCK_DURATION = 60.0
"""Seconds after which others take over from a process that was killed: far more than clocks may differ."""

PAGE = 100
"""Items that are rewritten between two renewals of the lock."""

_RELEASE_TIMEOUT = 5.0
_WAIT = 0.5  # seconds between two reads of the lock

_NOBODY = ""
_NOTHING: Value = {"NULL": True}

Rewrite = Callable[[Item], Mapping[str, Value | None]]
"""Returns the changes of an item: attributes to set, None for those to remove; empty if it stays as it is."""


class Overtaken(Exception):
    """The lock has expired, and another process has it."""


@dataclass(frozen=True, slots=True)
class Lock:
    """The process that is upgrading the table.

    :ivar until: microseconds since the epoch.
    :ivar step: the migration under way.
    :ivar after: the key of the last item that the migration has finished; None at its beginning.
    """

    owner: str
    until: int
    step: str = ""
    after: Item | None = None


class Metadata:
    """The items that store the progress of a table's upgrade."""

    def __init__(self, database: Database) -> None:
        self._database = database
        columns = ('"owner"', '"until"', '"step"', '"after"')
        where = 'WHERE "pk"=? AND "sk"=?'
        sets = " ".join(f"SET {column}=?" for column in columns)
        values = ", ".join(f"'{column[1:-1]}': ?" for column in columns)
        table = database.table
        self._take = f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'sk': ?, {values}}}"
        self._update = f'UPDATE "{table}" {sets} {where} AND "owner"=? AND "until"=?'
        self._drop = f'DELETE FROM "{table}" {where} AND "owner"=?'  # noqa: S608 -- its name was checked
        self._note = f"INSERT INTO \"{table}\" VALUE {{'pk': ?, 'sk': ?, 'written_by': ?, 'readable_from': ?}}"
        new, known = (
            " ".join(f'{word} "{name}"=?' for name in ("written_by", "readable_from")) for word in ("SET", "AND")
        )
        self._correct = f'UPDATE "{table}" {new} {where} {known}'

    async def format(self) -> Format | None:
        """The format stored in the table."""
        item = await self._read(FORMAT)
        return None if item is None else Format(int(item["written_by"]["N"]), int(item["readable_from"]["N"]))

    async def note(self, old: Format | None, new: Format) -> None:
        """Store a new format, unless another process has done so in the meantime."""
        values = [number(new.written_by), number(new.readable_from)]
        if old is None:
            statement = Statement(self._note, [*FORMAT.values(), *values])
        else:
            known = [number(old.written_by), number(old.readable_from)]
            statement = Statement(self._correct, [*values, *FORMAT.values(), *known])
        await self._apply(statement)

    async def acquire(self) -> Lock | None:
        """Take the lock; None while another process holds it."""
        item, now = await self._read(LOCK), _now()
        mine = Lock(uuid.uuid4().hex, now + round(LOCK_DURATION * 1e6))
        try:
            if item is None:
                taken = await self._apply(Statement(self._take, [*LOCK.values(), *_columns(mine)]))
                return mine if taken else None
            theirs = Lock(item["owner"]["S"], int(item["until"]["N"]), item["step"]["S"], item["after"].get("M"))
            if theirs.until > now:
                return None
            mine = replace(mine, step=theirs.step, after=theirs.after)
            return await self.update(theirs, mine)
        except Overtaken:
            return None
        except BaseException:  # it was cancelled, or the answer was lost: the lock may be stored
            await self.leave(mine)
            raise

    async def update(self, old: Lock, new: Lock) -> Lock:
        """
        :raises Overtaken: the stored lock is not the old one.
        """
        known = [text(old.owner), number(old.until)]
        if not await self._apply(Statement(self._update, [*_columns(new), *LOCK.values(), *known])):
            raise Overtaken
        return new

    async def release(self, lock: Lock) -> None:
        """Release the lock: others continue where a migration was left, or the lock is deleted if none is under way."""
        if lock.step:
            with suppress(Overtaken):
                await self.update(lock, Lock(_NOBODY, 0, lock.step, lock.after))
        else:
            await self._apply(Statement(self._drop, [*LOCK.values(), text(lock.owner)]))

    async def leave(self, lock: Lock) -> None:
        """Release the lock even if this call is cancelled. If that fails, the lock expires."""
        with anyio.move_on_after(_RELEASE_TIMEOUT, shield=True), suppress(RepositoryException):
            await self.release(lock)

    async def _read(self, key: Item) -> Item | None:
        request = {self._database.table: {"Keys": [key], "ConsistentRead": True}}
        answer = await self._database.ask("batch_get_item", RequestItems=request)
        items: list[Item] = answer["Responses"].get(self._database.table, [])
        return items[0] if items else None

    async def _apply(self, statement: Statement) -> bool:
        outcomes = await carry_out(self._database, [statement])
        if outcomes.error is not None:
            raise outcomes.error
        return outcomes.of == [Outcome.APPLIED]


class Upgrade:
    """The interface for migrations.

    :ivar database: the table.
    """

    def __init__(self, database: Database, metadata: Metadata, lock: Lock) -> None:
        self.database = database
        self.lock: Lock = lock
        self._metadata = metadata

    async def begin(self, step: str) -> None:
        """Begin or continue a migration."""
        await self.renew(step, self.lock.after if self.lock.step == step else None)

    async def renew(self, step: str, after: Item | None) -> None:
        """Store the progress of a migration, and keep the lock for another :data:`LOCK_DURATION`.

        :raises Overtaken: another process has the lock.
        """
        until = max(_now() + round(LOCK_DURATION * 1e6), self.lock.until + 1)
        self.lock = await self._metadata.update(self.lock, Lock(self.lock.owner, until, step, after))

    async def rewrite(self, changed: Rewrite) -> None:
        """Rewrite all records page by page, continuing after the last page that was done. Call it once per migration at
        most.

        Other processes keep using the table meanwhile. Records that older releases write lack the change, so the
        contracting migration that follows this expanding one must rewrite all records again.
        """
        while True:
            start = {} if self.lock.after is None else {"ExclusiveStartKey": self.lock.after}
            page = await self.database.ask(
                "scan", TableName=self.database.table, ConsistentRead=True, Limit=PAGE, **start
            )
            items: list[Item] = page["Items"]
            while items:
                items = await self._write(items, changed)
            await self.renew(self.lock.step, page.get("LastEvaluatedKey"))
            if self.lock.after is None:
                return

    async def _write(self, items: Sequence[Item], changed: Rewrite) -> list[Item]:
        """Write a page. Returns the current state of items that others have changed in the meantime."""
        records = [item for item in items if "S" in item.get("revision", {})]  # not the names of queues
        written = [(item, changes) for item in records if (changes := changed(item))]
        statements = [_rewriting(self.database.table, item, changes) for item, changes in written]
        outcomes = await carry_out(self.database, statements)
        if outcomes.error is not None:
            raise outcomes.error
        lost = [item for (item, _), of in zip(written, outcomes.of, strict=True) if of is Outcome.LOST]
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in lost]
        if not keys:
            return []
        request = {self.database.table: {"Keys": keys, "ConsistentRead": True}}
        answer = await self.database.ask("batch_get_item", RequestItems=request)
        left = answer.get("UnprocessedKeys", {}).get(self.database.table, {}).get("Keys", [])
        known = {(key["pk"]["S"], key["sk"]["S"]) for key in left}
        again = [item for item in lost if (item["pk"]["S"], item["sk"]["S"]) in known]
        return [*answer["Responses"].get(self.database.table, []), *again]


Step = Callable[[Upgrade], Awaitable[None]]
"""Runs one migration. Part of it may have been done before, and other processes use the table meanwhile."""

Pending = Callable[[], Awaitable[tuple[Format | None, Sequence[Migration[Step]]]]]
"""Returns the table's format, and the migrations that it needs."""


async def carry_out_steps(database: Database, metadata: Metadata, pending: Pending) -> None:
    """Run all pending migrations, or wait for the process that is running them."""
    while (await pending())[1]:
        lock = await metadata.acquire()
        if lock is None:
            await asyncio.sleep(random.uniform(_WAIT / 2, _WAIT))  # noqa: S311 -- spreads looks, no secret
            continue
        upgrade = Upgrade(database, metadata, lock)
        try:
            await _steps(upgrade, metadata, pending)
        except Overtaken:
            logger.warning("%s is being brought up to date by another process.", database.where)
        finally:
            await metadata.leave(upgrade.lock)


async def _steps(upgrade: Upgrade, metadata: Metadata, pending: Pending) -> None:
    while True:
        stored, steps = await pending()
        if not steps:
            return
        step = steps[0]
        await upgrade.begin(step.name)
        await step.step(upgrade)
        await metadata.note(stored, step.after(stored))
        await upgrade.renew("", None)
        logger.info("%s: %s is done.", upgrade.database.where, step.name)


def _rewriting(table: str, item: Item, changes: Mapping[str, Value | None]) -> Statement:
    sets = [f'SET "{name}"=?' for name, value in changes.items() if value is not None]
    removes = [f'REMOVE "{name}"' for name, value in changes.items() if value is None]
    values = [value for value in changes.values() if value is not None]
    statement = f'UPDATE "{table}" {" ".join(sets + removes)} WHERE "pk"=? AND "sk"=? AND "revision"=?'
    return Statement(statement, [*values, item["pk"], item["sk"], item["revision"]])


def _columns(lock: Lock) -> list[Value]:
    after = _NOTHING if lock.after is None else {"M": lock.after}
    return [text(lock.owner), number(lock.until), text(lock.step), after]


def _now() -> int:
    return round(time.time() * 1e6)
