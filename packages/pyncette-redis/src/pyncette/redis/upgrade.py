"""Upgrades a namespace to the format of this release, migration by migration, in bounded batches.

One process does the work, under a lock that expires if its owner is killed. The progress is stored after each batch,
and the next owner of the lock continues from there. A batch may be repeated, so migrations are idempotent: an owner
that is so slow that it loses its lock costs time, but no data.

Records are found through the index by name, not by HSCAN, whose cursors are invalid after a failover.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import anyio

from pyncette.errors import RepositoryException
from pyncette.migrations import Migration

from . import codec, scripts
from .client import Client
from .keys import Keys, QueueKeys
from .schema import Schema, marker
from .wire import Call, bulk

logger: logging.Logger = logging.getLogger(__name__)

BATCH = 1000
"""The number of records that one script changes, as it blocks the server meanwhile."""

LOCK_SECONDS = 30
"""The lock expires if no batch is finished for this long."""

_WAIT = 0.2


class _LostLock(Exception):
    """The lock has expired, and another process has taken over."""


@dataclass(slots=True)
class _Place:
    """The progress of a migration: all queues before ``queue`` are done, and in ``queue`` all members up to
    ``member``."""

    step: str
    queue: str = ""
    member: str = ""

    @classmethod
    def read(cls, text: str, step: str) -> _Place:
        parts = text.split("\0", 2)
        return cls(*parts) if len(parts) == 3 and parts[0] == step else cls(step)

    def text(self) -> str:
        return f"{self.step}\0{self.queue}\0{self.member}"


class Upgrade:
    """The work of one process on one namespace."""

    def __init__(self, client: Client, keys: Keys, schema: Schema) -> None:
        self._client = client
        # Separate from the repository's, which remembers the queues that were checked.
        self._keys = Keys(keys.namespace, spread=keys.spread)
        self._schema = schema
        self._token = secrets.token_hex(8)

    async def run(self) -> None:
        """Return once no migration is pending, however long that takes and whichever process has run them."""
        while True:
            with suppress(_LostLock):
                taken, text, progress = await self._lock()
                pending = self._schema.pending(text)
                if taken:
                    await self._carry_out(pending, text, progress)
                if taken or not pending:
                    return
            await asyncio.sleep(_WAIT)

    async def _carry_out(self, pending: list[Migration[str]], text: str, progress: str) -> None:
        place = progress
        try:
            for step in pending:
                at = _Place.read(place, step.name)
                script = scripts.migration(step)
                async for queue, members in self._records(at):
                    await self._client.one(_batch(script, queue, members))
                    place = at.text()
                    await self._advance(text, place)
                new = marker(step.after(self._schema.stored(text)))
                place = ""
                await self._advance(text, place, new=new)
                text = new
                logger.info("The Redis namespace %r: %s is done.", self._schema.namespace, step.name)
        finally:
            with anyio.move_on_after(1, shield=True), suppress(RepositoryException, _LostLock):
                await self._advance(text, place, release=True)

    async def _records(self, place: _Place) -> AsyncIterator[tuple[QueueKeys, list[str]]]:
        """Members of all queues after ``place``, in batches. ``place`` is updated to the end of the batch yielded
        last."""
        names = await self._names(f"[{place.queue}" if place.queue else "-")
        while names:
            yield self._keys.static, names  # the script skips those that are not static tasks
            for name in names:
                if name != place.queue:
                    place.queue, place.member = name, ""
                queue = self._keys.dynamic(name)
                while members := await self._members(queue, name, place.member):
                    place.member = members[-1]
                    yield queue, members
            names = await self._names(f"({names[-1]}")

    async def _names(self, start: str) -> list[str]:
        return await self._range(self._keys.static.slot, self._keys.queues_name, start)

    async def _members(self, queue: QueueKeys, name: str, after: str) -> list[str]:
        return await self._range(queue.slot, self._keys.order_name(name), f"({after}" if after else "-")

    async def _range(self, slot: int, key: str, start: str) -> list[str]:
        found = await self._client.plain(slot, "ZRANGEBYLEX", key, start, "+", "LIMIT", "0", str(BATCH))
        return [codec.decoded(each) for each in found]

    async def _lock(self) -> tuple[bool, str, str]:
        taken, text, progress = await self._client.one(self._call(scripts.LOCK, self._token, str(LOCK_SECONDS * 1000)))
        return taken == b"1", codec.decoded(text), codec.decoded(progress)

    async def _advance(self, text: str, place: str, *, new: str = "", release: bool = False) -> None:
        """
        :raises _LostLock: another process has the lock.
        """
        lease = "0" if release else str(LOCK_SECONDS * 1000)
        if await self._client.one(self._call(scripts.ADVANCE, self._token, lease, place, text, new)) != b"1":
            raise _LostLock

    def _call(self, script: scripts.Script, *arguments: str) -> Call:
        names = (self._keys.lock, self._keys.marker, self._keys.progress)
        packed = [bulk(codec.encoded(argument)) for argument in arguments]
        return Call(script, self._keys.static.slot, [bulk(name.encode()) for name in names], packed, len(packed))


def _batch(script: scripts.Script, queue: QueueKeys, members: list[str]) -> Call:
    packed = [bulk(codec.encoded(member)) for member in members]
    return Call(script, queue.slot, [queue.rows, queue.ready, queue.order], packed, len(packed))
