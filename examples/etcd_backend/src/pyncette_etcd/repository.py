"""The methods of a repository, in transactions of etcd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyncette.errors import RecordRefusedException
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, Record, Ref, Swap, end_of_prefix
from pyncette.repository import Repository

from .gateway import MOST_NESTED, MOST_OPERATIONS, Entry, Gateway, Operation
from .layout import Layout, end_of, pieces, to_record, to_value

LARGEST_RECORD = 1_400_000
"""Bytes that a record may take with its places: etcd takes requests of up to 1.5 MiB."""


class EtcdRepository(Repository):
    """Each record has a key, whose revision in etcd is what a swap depends on, and a key in the index by time."""

    def __init__(self, gateway: Gateway, namespace: str) -> None:
        self._gateway = gateway
        self._at = Layout(namespace)

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        found = await self._entries(refs)
        return [to_record(found[place].value) if place in found else None for place in map(self._at.record, refs)]

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """Read what is stored, compare revisions here, and write on the condition that nothing was written meanwhile.

        Each change is a separate transaction; as many as etcd takes travel in one request."""
        for change in changes:
            _check_size(change)
        found = await self._entries([change.ref for change in changes])
        swaps = [Swap.CONFLICT] * len(changes)
        possible: list[tuple[int, Operation]] = []
        for number, change in enumerate(changes):
            entry = found.get(self._at.record(change.ref))
            stored = to_record(entry.value) if entry else None
            if (stored and stored.revision) == (change.old and change.old.revision):
                possible.append((number, self._write(change, stored, entry.revision if entry else 0)))
        for batch in _batches(possible, changes):
            answer = await self._gateway.txn(success=[operation for _, operation in batch])
            for (number, _), response in zip(batch, answer["responses"], strict=True):
                if response["response_txn"].get("succeeded"):
                    swaps[number] = Swap.APPLIED
        return swaps

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        since = LEAST if after is None else after + 1
        asked = {self._at.time(queue, since): queue for queue in queues}
        ends = {place: self._at.time(queue, HELD) for place, queue in asked.items()}
        first = []
        moments: dict[str, list[int]] = {}
        for batch in pieces(list(asked), MOST_OPERATIONS):
            questions = [self._gateway.get(place, ends[place], limit=limit, only="keys") for place in batch]
            answer = await self._gateway.txn(success=questions)
            for response, place in zip(answer["responses"], batch, strict=True):
                entries = self._gateway.found({"responses": [response]})
                times = [self._at.key_of(entry.key, asked[place])[0] for entry in entries]
                first += times[:1]
                if times and times[0] <= until:
                    moments[asked[place].name] = [time for time in times if time <= until]
        return Look(min(first, default=None), await self.read(refs), None, moments)

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        whole = self._at.queue(queue.name)
        start = whole + (prefix if after is None or after < prefix else after + "\0").encode()
        end = whole + end_of_prefix(prefix).encode() if prefix else end_of(whole)
        return [to_record(entry.value) for entry in await self._range(start, end, limit)]

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        """Keys from the index, then their records as they were at the same revision of the store."""
        start, end = self._at.time(queue, since), self._at.time(queue, before)
        if after is not None:
            start = max(start, self._at.time(queue, *after) + b"\0")
        if limit <= 0 or start >= end:
            return []
        answer = await self._gateway.txn(success=[self._gateway.get(start, end, limit=limit, only="keys")])
        keys = [self._at.key_of(entry.key, queue)[1] for entry in self._gateway.found(answer)]
        refs = [Ref(queue.name, key) for key in keys]
        found = await self._entries(refs, revision=int(answer["header"]["revision"]))
        return [to_record(found[place].value) for place in map(self._at.record, refs)]

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        """From the first record of one queue to the first one behind it: a request for each name, no record is read."""
        names: list[str] = []
        while len(names) < limit:
            start, end = self._at.all_queues(names[-1] if names else after)
            entries = await self._range(start, end, 1, only="keys")
            if not entries:
                break
            names.append(self._at.queue_of(entries[0].key))
        return names

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        start, end = self._at.time(queue, since), self._at.time(queue, before)
        if start >= end:
            return Count(0, exact=True)
        answer = await self._gateway.txn(success=[self._gateway.get(start, end, only="count")])
        return Count(int(answer["responses"][0]["response_range"].get("count", 0)), exact=True)

    def _write(self, change: Change, stored: Record | None, revision: int) -> Operation:
        place = self._at.record(change.ref)
        operations: list[Operation] = []
        if stored and (change.new is None or change.new.ready_at != stored.ready_at):
            operations.append(self._gateway.delete(self._at.time(stored.queue, stored.ready_at, stored.key)))
        if change.new is None:
            operations.append(self._gateway.delete(place))
        else:
            new = change.new
            operations.append(self._gateway.put(place, to_value(new)))
            operations.append(self._gateway.put(self._at.time(new.queue, new.ready_at, new.key), b""))
        return self._gateway.nested([self._gateway.unchanged(place, revision)], operations)

    async def _entries(self, refs: Sequence[Ref], *, revision: int = 0) -> dict[bytes, Entry]:
        found: dict[bytes, Entry] = {}
        for batch in pieces(list(dict.fromkeys(map(self._at.record, refs))), MOST_OPERATIONS):
            questions = [self._gateway.get(place, revision=revision) for place in batch]
            answer = await self._gateway.txn(success=questions)
            found |= {entry.key: entry for entry in self._gateway.found(answer)}
        return found

    async def _range(self, start: bytes, end: bytes, limit: int, *, only: str = "") -> list[Entry]:
        if limit <= 0 or start >= end:
            return []
        answer = await self._gateway.txn(success=[self._gateway.get(start, end, limit=limit, only=only)])
        return list(self._gateway.found(answer))


def _check_size(change: Change) -> None:
    try:
        size = 0 if change.new is None else len(to_value(change.new))
    except UnicodeEncodeError as error:
        raise RecordRefusedException("a text is no Unicode: it has a lone surrogate") from error
    if size > LARGEST_RECORD:
        raise RecordRefusedException(f"the record takes {size} bytes, etcd takes no more than {LARGEST_RECORD}")


def _batches(
    possible: Sequence[tuple[int, Operation]], changes: Sequence[Change]
) -> Iterator[list[tuple[int, Operation]]]:
    """As many changes as a request may hold, by their number and by their size."""
    batch: list[tuple[int, Operation]] = []
    size = 0
    for number, operation in possible:
        new = changes[number].new
        more = 0 if new is None else len(new.spec.encode()) + len(new.state.encode()) + 4096
        if batch and (len(batch) == MOST_NESTED or size + more > LARGEST_RECORD):
            yield batch
            batch, size = [], 0
        batch.append((number, operation))
        size += more
    if batch:
        yield batch
