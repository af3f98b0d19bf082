"""The log of runs: one sorted set per queue, whose members are the lines, scored by the moment when the run ended."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from pyncette.record import RunLine, RunQuestion
from redis.crc import key_slot

from . import codec, scripts
from .client import Client
from .keys import Keys
from .wire import Call, Plain, bulk, number

LOOKED_AT = 2000
"""The maximum number of lines that one script scans, as it blocks the server meanwhile."""

QUEUES = 100
"""The number of queues whose logs are read in one round trip."""

_ENDED = struct.Struct(">qH")
_LENGTH = struct.Struct(">H")

_Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Log:
    queue: str
    static: bool
    name: str
    slot: int

    def instance(self, key: str) -> bytes:
        return codec.encoded(key) if self.static else codec.member_of(self.queue, key)

    def line(self, stored: bytes) -> RunLine:
        (ended_at, id_), rest = _place(stored)
        (length,) = _LENGTH.unpack_from(stored, rest - _LENGTH.size)
        key_at = rest + length + _LENGTH.size
        key_ends = key_at + _LENGTH.unpack_from(stored, rest + length)[0]
        outcome, member, text = stored[rest : rest + length], stored[key_at:key_ends], stored[key_ends:]
        key = codec.decoded(member) if self.static else codec.key_of(self.queue, member)
        return RunLine(id_, self.queue, key, ended_at, codec.decoded(outcome), codec.decoded(text))


def appended(keys: Keys, run: RunLine) -> tuple[bytes, bytes]:
    """The log's key, and the line with its score; packed by :func:`~pyncette.redis.wire.bulk`."""
    log = _log(keys, run.queue, static=run.queue == run.key)
    outcome, instance = codec.encoded(run.outcome), log.instance(run.key)
    line = b"".join(
        (
            codec.encoded(run.id),
            b"\0",
            _ENDED.pack(run.ended_at, len(outcome)),
            outcome,
            _LENGTH.pack(len(instance)),
            instance,
            codec.encoded(run.text),
        )
    )
    return bulk(log.name.encode(errors="surrogateescape")), bulk(codec.score(run.ended_at)) + bulk(line)


class RunLog:
    """Reads and prunes the logs of all queues."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        """Reads the logs of some queues at a time. Once it has enough lines, it asks only for newer ones."""
        found: list[RunLine] = []
        async for logs in self._logs(question.queues):
            if len(found) == question.limit > 0:
                question = replace(question, since=max(question.since, found[-1].ended_at))
            found += await self._ask(logs, question)
            found.sort(key=lambda line: (line.ended_at, codec.encoded(line.id)), reverse=True)
            del found[question.limit :]
        return found

    async def prune(self, before: int, limit: int) -> int:
        """Delete the oldest lines of each log; returns how many."""
        deleted = 0
        bound = codec.upper_bound(before)
        async for logs in self._logs(None):
            plain = [Plain(log.slot, ("ZCOUNT", log.name, "-inf", bound.decode())) for log in logs]
            calls: list[Call] = []
            room = limit - deleted
            for log, old in zip(logs, await self._client.all(plain), strict=True):
                share = min(room, int(old))
                room -= share
                if share > 0:
                    calls.append(_call(scripts.PRUNE, log, bulk(bound), number(share)))
            deleted += sum(map(int, await self._client.all(calls)))
            if room == 0:
                break
        return deleted

    async def _ask(self, logs: Sequence[_Log], question: RunQuestion) -> list[RunLine]:
        """The newest lines of each of the logs."""
        found: list[RunLine] = []
        pending = [(log, question) for log in logs]
        while pending:
            replies = await self._client.all([_asking(log, asked) for log, asked in pending])
            asked_before, pending = pending, []
            for (log, asked), (last, *lines) in zip(asked_before, replies, strict=True):
                found += map(log.line, lines)
                if last:
                    pending.append((log, replace(asked, after=_place(last)[0], limit=asked.limit - len(lines))))
        return found

    async def _logs(self, queues: Sequence[str] | None) -> AsyncIterator[list[_Log]]:
        """The logs of these queues, or of all, page by page. A name doesn't tell whether its queue is static, so both
        are tried."""
        if queues is not None:
            names = sorted(set(queues))
            for start in range(0, len(names), QUEUES):
                yield self._both(names[start : start + QUEUES])
            return
        after = "-"
        while True:
            limit = ("LIMIT", "0", str(QUEUES))
            slot, key = self._keys.static.slot, self._keys.queues_name
            page = [codec.decoded(n) for n in await self._client.plain(slot, "ZRANGEBYLEX", key, after, "+", *limit)]
            yield self._both(page)
            if len(page) < QUEUES:
                return
            after = f"({page[-1]}"

    def _both(self, queues: Sequence[str]) -> list[_Log]:
        return [_log(self._keys, queue, static=static) for queue in queues for static in (False, True)]


def _log(keys: Keys, queue: str, *, static: bool) -> _Log:
    name = keys.runs_name(queue, static=static)
    return _Log(queue, static, name, key_slot(name.encode(errors="surrogateescape")) if keys.spread else 0)


def _asking(log: _Log, question: RunQuestion) -> Call:
    newer, at, last = codec.score(question.before), b"", ""
    if question.after is not None and question.after[0] < question.before:
        moment, last = question.after
        newer, at = b"(" + codec.score(moment), codec.time(moment)
    outcomes = sorted(set(question.outcomes or ()))
    arguments = (
        newer,
        codec.lower_bound(question.since),
        at,
        codec.encoded(last),
        b"%d" % question.limit if question.outcomes is None or outcomes else b"0",
        b"%d" % LOOKED_AT,
        b"" if question.key is None else log.instance(question.key),
        codec.encoded(question.containing or ""),
        b"0" if question.outcomes is None else b"1",
        *map(codec.encoded, outcomes),
    )
    return _call(scripts.RUNS, log, *map(bulk, arguments))


def _call(script: scripts.Script, log: _Log, *arguments: bytes) -> Call:
    return Call(script, log.slot, [bulk(log.name.encode(errors="surrogateescape"))], arguments, len(arguments))


def _place(stored: bytes) -> tuple[_Place, int]:
    """The moment and id of a line, and the offset of its outcome."""
    stop = stored.index(b"\0")
    ended_at, _ = _ENDED.unpack_from(stored, stop + 1)
    return (ended_at, codec.decoded(stored[:stop])), stop + 1 + _ENDED.size
