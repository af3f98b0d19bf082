"""Stores records in Redis. Each method is one round trip to each server concerned; the scripts are in ``lua/``."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pyncette.errors import RepositoryException
from pyncette.findings import Finding
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap
from pyncette.repository import Remembered, Repository
from redis.exceptions import OutOfMemoryError

from . import batches, codec, looks, scripts
from .client import Client
from .diagnosis import diagnose
from .keys import Keys
from .run_log import RunLog
from .schema import legacy_data
from .settings import Mode, Settings
from .wire import Call, bulk, number

logger: logging.Logger = logging.getLogger(__name__)


REPEAT_SECONDS = 60
"""How often a failing part of a cluster is logged, in seconds."""


class RedisRepository(Repository):
    """Records in Redis or Valkey: one server, one with sentinels, or a cluster.

    In a cluster, a call about several slots consists of a separate call to each, some of which may fail while others
    succeed. ``claim`` and ``look`` then return what the reachable slots answered.
    """

    keeps_runs = True

    def __init__(self, client: Client, keys: Keys, settings: Settings, *, max_row: int) -> None:
        self._client = client
        self._settings = settings
        self._keys = keys
        self._max_row = max_row
        self._may_be_legacy = settings.mode is not Mode.CLUSTER
        self._said_at = -math.inf
        self._registered: set[str] = set()
        self._run_log = RunLog(client, keys)
        self._asked = Remembered(partial(looks.by_slot, keys))

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        await self._admit(ref.queue for ref in refs if not ref.static)
        plan = batches.reads(self._keys, refs)
        replies = await self._client.all([batch.read() for batch in plan])
        records: list[Record | None] = [None] * len(refs)
        for batch, reply in zip(plan, replies, strict=True):
            self._place(records, refs, batch.positions, reply)
        return records

    @staticmethod
    def _place(records: list[Record | None], refs: Sequence[Ref], positions: Sequence[int], reply: bytes) -> None:
        for position, stored in zip(positions, codec.rows(reply), strict=True):
            if stored is not None:
                records[position] = codec.record(refs[position].queue, refs[position].key, stored)

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """A server without free memory refuses new records and larger ones, but still settles existing ones. Scripts
        run one after another, so nothing is ever busy."""
        await self._admit(each.queue for each in (change.either for change in changes) if not each.static)
        swaps = [Swap.CONFLICT] * len(changes)
        everything = range(len(changes))
        refused = await self._register({change.either.queue for change in changes if change.old is None})
        if refused is not None:
            await self._swap(changes, [each for each in everything if changes[each].old is not None], swaps)
            raise refused
        refused, settling = await self._swap(changes, everything, swaps)
        if settling:
            await self._swap(changes, settling, swaps)
        if refused is not None:
            raise refused
        return swaps

    async def _swap(
        self, changes: Sequence[Change], positions: Sequence[int], swaps: list[Swap]
    ) -> tuple[RepositoryException | None, list[int]]:
        """
        Apply some of the changes, and note in ``swaps`` which were applied.

        :return: the last error, and the changes to try again: those that a server without free memory does not refuse.
        """
        plan = batches.swaps(self._keys, [changes[position] for position in positions], self._max_row)
        results = await self._client.each([batch.swap() for batch in plan])
        refused: RepositoryException | None = None
        settling: list[int] = []
        for batch, result in zip(plan, results, strict=True):
            places = [positions[place] for place in batch.positions]
            if isinstance(result, RepositoryException):
                refused = result
                if isinstance(result.__cause__, OutOfMemoryError):
                    settling += [place for place in places if not batches.grows(changes[place])]
            else:
                for place, outcome in zip(places, result, strict=True):
                    if outcome == ord("1"):
                        swaps[place] = Swap.APPLIED
        return refused, settling

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        """In a cluster, the answer includes the time only if the slot of the static tasks is asked anyway."""
        if not self._asked.knows(queues):
            await self._admit(each.name for each in queues if not each.static)
        await self._admit(ref.queue for ref in refs if not ref.static)
        questions = looks.questions(self._keys, self._asked.of(queues), refs)
        replies = await self._client.each([question.call(self._keys, after, until, limit) for question in questions])
        for question, reply in zip(questions, replies, strict=True):
            if question.reads and isinstance(reply, RepositoryException):
                raise reply
        self._reached(replies)
        records: list[Record | None] = [None] * len(refs)
        first: list[int] = []
        moments: dict[str, list[int]] = {}
        now = None
        for question, reply in zip(questions, replies, strict=True):
            if isinstance(reply, RepositoryException):
                continue
            moment, found, time_there, soon = reply
            if moment is not None:
                first.append(int(moment))
            moments |= question.moments(soon)
            if question.slot == self._keys.static.slot:
                now = int(time_there)
            self._place(records, refs, question.positions, found)
        return Look(min(first, default=None), records, now, moments)

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        if queue.static:
            found = await self._static(queue, limit)
            return [one for one in found if one.key.startswith(prefix) and (after is None or one.key > after)]
        await self._admit([queue.name])
        first, last = codec.members_with_prefix(queue.name, prefix)
        if after is not None:
            member = codec.member_of(queue.name, after)
            first = b"(" + member if member >= first[1:] else first
        keys = self._keys.dynamic(queue.name)
        call = Call(
            scripts.SCAN,
            keys.slot,
            [keys.rows, keys.order],
            [bulk(first), bulk(last), number(limit)],
            3,
        )
        return self._page(queue, await self._client.one(call))

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        if queue.static:
            found = await self._static(queue, limit)
            behind = (since, "") if after is None else after
            return [one for one in found if since <= one.ready_at < before and (one.ready_at, one.key) > behind]
        await self._admit([queue.name])
        place = member = b""
        if after is not None and after[0] >= since:
            place, member = codec.score(after[0]), codec.member_of(queue.name, after[1])
        arguments = [
            bulk(codec.lower_bound(since)),
            bulk(codec.upper_bound(before)),
            number(limit),
            bulk(place),
            bulk(member),
        ]
        keys = self._keys.dynamic(queue.name)
        places = [keys.rows, keys.ready]
        call = Call(scripts.SCAN_READY, keys.slot, places, arguments, len(arguments))
        return self._page(queue, await self._client.one(call))

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        """Includes queues that have become empty."""
        start = "-" if after is None else f"({after}"
        slot, key = self._keys.static.slot, self._keys.queues_name
        names = await self._client.plain(slot, "ZRANGEBYLEX", key, start, "+", "LIMIT", "0", str(limit))
        return [codec.decoded(name) for name in names]

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        """Always exact."""
        if queue.static:
            found = await self._static(queue, 1)
            return Count(sum(since <= one.ready_at < before for one in found), exact=True)
        await self._admit([queue.name])
        keys = self._keys.dynamic(queue.name)
        lower, upper = codec.lower_bound(since).decode(), codec.upper_bound(before).decode()
        value = await self._client.plain(keys.slot, "ZCOUNT", self._keys.ready_name(queue.name), lower, upper)
        return Count(int(value), exact=True)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        """Scans the log in steps of some thousand lines, and leaves out other instances, outcomes and texts."""
        return await self._run_log.runs(question)

    async def prune_runs(self, *, before: int, limit: int) -> int:
        """Removes the oldest lines of one queue after another."""
        return await self._run_log.prune(before, limit)

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        """In a cluster, claims for more than ``limit`` in total first ask each slot how much is ready there, so that
        queues are served in the order given and no more than ``limit`` records are claimed."""
        await self._admit(claim.queue.name for claim in claims if not claim.queue.static)
        chosen = await self._within(claims, now, limit) if self._keys.spread else claims
        tails = {end: codec.leased_tail(token, end, holder) for end in {claim.locked_until for claim in chosen}}
        questions = self._questions(chosen, now, tails)
        length = codec.leased_length(next(iter(tails.values()))) if tails else b""
        first = (codec.score_until(now), codec.time(now), b"%d" % limit, length)
        calls = [question.call(scripts.CLAIM, slot, *first) for slot, question in questions]
        return self._records(questions, await self._client.each(calls))

    async def clock(self) -> int | None:
        """The time of the server that holds the static tasks."""
        seconds, microseconds = await self._client.plain(self._keys.static.slot, "TIME")
        return int(seconds) * 1_000_000 + int(microseconds)

    async def diagnose(self) -> list[Finding]:
        return await diagnose(self._client, self._keys, self._settings)

    async def _static(self, queue: Queue, limit: int) -> list[Record]:
        """The record of a static task, if there is one."""
        return [one for one in await self.read([Ref(queue.name, queue.name)]) if one and limit > 0]

    @staticmethod
    def _page(queue: Queue, reply: bytes) -> list[Record]:
        found = codec.page(reply)
        return [codec.record(queue.name, codec.key_of(queue.name, member), stored) for member, stored in found]

    async def _register(self, queues: set[str]) -> RepositoryException | None:
        """Store the names of queues that get their first record from this process. Returns the error if that failed."""
        new = sorted(queues - self._registered)
        if new:
            names = [bulk(codec.encoded(name)) for name in new]
            key = bulk(self._keys.queues_name.encode())
            call = Call(scripts.REGISTER, self._keys.static.slot, [key], names, len(names))
            (result,) = await self._client.each([call])
            if isinstance(result, RepositoryException):
                return result
            self._registered.update(new)
        return None

    async def _within(self, claims: Sequence[QueueClaim], now: int, limit: int) -> list[QueueClaim]:
        """The claims to send to several slots, so that they can't return more than ``limit`` records in total."""
        wanted = [replace(claim, limit=min(claim.limit, limit)) if claim.limit > limit else claim for claim in claims]
        slots = batches.claims_by_slot(self._keys, wanted)
        if len(slots) <= 1 or sum(1 if claim.queue.static else claim.limit for claim in wanted) <= limit:
            return wanted
        questions = self._questions(wanted, now)
        calls = [question.call(scripts.COUNT, slot) for slot, question in questions]
        replies = await self._client.each(calls)
        self._reached(replies)
        ready: dict[tuple[str, int], int] = {}
        for (slot, _), reply in zip(questions, replies, strict=True):
            if not isinstance(reply, RepositoryException):
                counts = codec.counts(reply)
                ready.update(zip(((claim.queue.name, claim.since) for claim in slots[slot]), counts, strict=True))
        chosen = []
        for claim in wanted:
            share = min(limit, claim.limit, ready.get((claim.queue.name, claim.since), 0))
            if share > 0:
                chosen.append(replace(claim, limit=share))
                limit -= share
        return chosen

    def _questions(
        self, claims: Sequence[QueueClaim], now: int, tails: dict[int, bytes] | None = None
    ) -> list[tuple[int, batches.Question]]:
        slots = batches.claims_by_slot(self._keys, claims)
        return [(slot, batches.ask_about(self._keys, some, now, tails)) for slot, some in slots.items()]

    def _records(self, questions: Sequence[tuple[int, batches.Question]], replies: Sequence[Any]) -> list[Record]:
        self._reached(replies)
        return [
            record
            for (_, question), reply in zip(questions, replies, strict=True)
            if not isinstance(reply, RepositoryException)
            for record in question.records(reply)
        ]

    def _reached(self, replies: Sequence[Any]) -> list[Any]:
        """The replies that are not errors. If all are errors, the first one is raised.

        What reachable servers hold must not wait for the others.
        """
        fine = [reply for reply in replies if not isinstance(reply, RepositoryException)]
        errors = [reply for reply in replies if isinstance(reply, RepositoryException)]
        if errors and not fine:
            raise errors[0]
        now = time.monotonic()
        if errors and now - self._said_at > REPEAT_SECONDS:
            self._said_at = now
            logger.warning("A part of the cluster fails; its tasks wait until it is back: %s", errors[0])
        return fine

    async def _admit(self, queues: Iterable[str]) -> None:
        """Check each dynamic queue once for instances that version 1 has left."""
        unknown = {queue for queue in queues if not self._keys.known(queue)}
        if unknown and self._may_be_legacy:
            found = await self._client.plain(0, "EXISTS", *map(self._keys.legacy, unknown))
            if found:
                raise legacy_data(self._keys.namespace)
        for queue in unknown:
            self._keys.dynamic(queue)
