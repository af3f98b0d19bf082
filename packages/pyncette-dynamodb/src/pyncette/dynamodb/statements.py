"""Conditional writes as PartiQL statements: DynamoDB takes a batch of them in one request, each with its own outcome.

The classic batch requests support no conditions, and transactions are all or nothing and cost twice as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.record import MAX_ATTEMPT, MAX_FENCE, Change, Record

from .codec import LARGEST_SPEC, NO_REVISION, Entry, Item, Layout, Value, number, text
from .connection import ATTEMPTS, Database, pause, together
from .errors import DRIVER_ERRORS, Outcome, is_throttled, largest, outcome, refused, translated

MOST_STATEMENTS = 25
"""The maximum number of statements that DynamoDB takes in one request."""

MOST_TEXT = 500_000
"""The maximum total size of specs in a request with several statements, in bytes. DynamoDB takes 16 MB, but the driver
writes a request to the network in one piece, and warns about those above 1 MB."""

_FIELDS = ("due_at", "ready_at", "locked_until", "locked_by", "revision", "fence", "attempt", "state")
_CLAIMED = ("ready_at", "locked_until", "locked_by", "revision", "fence", "attempt")

_WHERE = 'WHERE "pk"=? AND "sk"=? AND'
_SAME = f'{_WHERE} "revision"=?'
_UNREADABLE = """("revision" IS MISSING OR NOT attribute_type("revision", 'S') OR "revision"='')"""
"""The condition for writing a damaged record without a revision: it still has none."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One conditional write.

    :ivar size: the approximate size of its spec in a request, in bytes.
    """

    text: str
    parameters: Sequence[Value]
    size: int = 0


@dataclass(slots=True)
class Outcomes:
    """The outcomes of a batch.

    :ivar of: the outcome of each statement.
    :ivar items: the item that each statement returned, if any.
    :ivar error: the error of the statements whose outcome is neither applied nor lost.
    """

    of: list[Outcome]
    items: list[Item | None]
    error: RepositoryException | None = field(default=None)

    def fail(self, error: RepositoryException) -> None:
        """Remember an error. A permanent error takes precedence over a temporary one."""
        if self.error is None or isinstance(self.error, RepositoryUnavailableException):
            self.error = error


class Statements:
    """Builds the statements for one table."""

    def __init__(self, table: str, layout: Layout) -> None:
        self._layout = layout
        self._insert = f'INSERT INTO "{table}" VALUE {{{_list("pk", "sk", *_FIELDS, "spec")}}}'
        self._update = f'UPDATE "{table}" {_set(*_FIELDS)} {_SAME}'
        self._rewrite = f'UPDATE "{table}" {_set(*_FIELDS, "spec")} {_SAME}'
        self._claim = f'UPDATE "{table}" {_set(*_CLAIMED)} {_SAME} RETURNING ALL OLD *'
        self._restore = f'UPDATE "{table}" SET "ready_at"=? {_WHERE} "ready_at" IS MISSING'  # noqa: S608 -- its name was checked
        self._register = f'INSERT INTO "{table}" VALUE {{{_list("pk", "sk")}}}'
        # Deleting a missing item succeeds, but only an item that was deleted is returned.
        self._delete = f'DELETE FROM "{table}" {_SAME} RETURNING ALL OLD *'  # noqa: S608 -- its name was checked

    def change(self, change: Change) -> Statement:
        """
        :raises RecordRefusedException: the record is too large.
        """
        old, new = change.old, change.new
        place = self._place(change.ref.key, self._layout.place(change.ref))
        if new is None:
            return _guarded(self._delete, place, old.revision if old else "")
        if old is None:
            return Statement(self._insert, [*place, *_values(new), text(_checked(new))], _size(new.spec))
        if old.spec == new.spec:
            return _guarded(self._update, [*_values(new), *place], old.revision, _size(new.state))
        return _guarded(self._rewrite, [*_values(new), text(_checked(new)), *place], old.revision, _size(new.spec))

    def register(self, queue: str) -> Statement:
        """Stores the name of a queue; fails if it is stored already."""
        return Statement(self._register, [*self._place(queue, self._layout.registry)])

    def restore(self, record: Record) -> Statement:
        """Gives a damaged record without ``ready_at``, which is not in the index, the one that it was read with."""
        return Statement(
            self._restore, [number(record.ready_at), *self._place(record.key, self._layout.place(record.ref))]
        )

    def claim(self, entry: Entry, *, now: int, locked_until: int, token: str, holder: str) -> Statement:
        """Changes the same fields as :func:`pyncette.lease.claim`."""
        values = (
            number(locked_until),
            number(locked_until),
            text(holder),
            text(token),
            number(max(min(entry.fence, MAX_FENCE - 1) + 1, now)),
            number(min(entry.attempt, MAX_ATTEMPT - 1) + 1),
        )
        place = self._place(entry.ref.key, self._layout.place(entry.ref))
        return _guarded(self._claim, [*values, *place], entry.revision)

    @staticmethod
    def _place(key: str, place: str) -> tuple[Value, Value]:
        return text(place), text(key)


async def carry_out(database: Database, statements: Sequence[Statement], *, attempts: int = ATTEMPTS) -> Outcomes:
    """Send the statements in concurrent requests, and repeat those that were throttled.

    A request that fails doesn't affect the others.
    """
    outcomes = Outcomes([Outcome.THROTTLED] * len(statements), [None] * len(statements))
    left: Sequence[int] = range(len(statements))
    for attempt in range(1, attempts + 1):
        await together(partial(_send, database, statements, part, outcomes) for part in _parts(statements, left))
        left = [place for place in left if outcomes.of[place] is Outcome.THROTTLED]
        if not left:
            return outcomes
        if attempt < attempts:
            await pause(attempt)
    outcomes.fail(RepositoryUnavailableException(f"{database.where} is asked for more than its capacity."))
    return outcomes


async def _send(database: Database, statements: Sequence[Statement], part: Sequence[int], outcomes: Outcomes) -> None:
    request = [{"Statement": statements[place].text, "Parameters": statements[place].parameters} for place in part]
    try:
        answer = await database.send("batch_execute_statement", Statements=request)
    except DRIVER_ERRORS as error:
        if is_throttled(error):
            return
        for place in part:
            outcomes.of[place] = Outcome.UNKNOWN
        failure = translated(error, database.where)
        failure.__cause__ = error
        outcomes.fail(failure)
        return
    for place, response in zip(part, answer["Responses"], strict=True):
        outcomes.of[place] = _outcome(database, response.get("Error", {}), outcomes)
        if outcomes.of[place] is Outcome.APPLIED:
            outcomes.items[place] = response.get("Item")


def _outcome(database: Database, error: dict[str, Any], outcomes: Outcomes) -> Outcome:
    found = outcome(error.get("Code"))
    if found is None:
        outcomes.fail(refused(error["Code"], error.get("Message", ""), database.where))
        return Outcome.UNKNOWN
    if found is Outcome.UNKNOWN:
        outcomes.fail(RepositoryUnavailableException(f"{database.where} has failed; what it has done is unknown."))
    return found


def _parts(statements: Sequence[Statement], places: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split the statements into requests."""
    start = size = 0
    for end, place in enumerate(places):
        size += statements[place].size
        if end > start and (end - start == MOST_STATEMENTS or size > MOST_TEXT):
            yield places[start:end]
            start, size = end, statements[place].size
    if start < len(places):
        yield places[start:]


def _guarded(statement: str, parameters: Sequence[Value], revision: str, size: int = 0) -> Statement:
    """A statement that applies only if this is still the stored revision."""
    if revision == NO_REVISION:
        return Statement(statement.replace(_SAME, f"{_WHERE} {_UNREADABLE}"), parameters, size)
    return Statement(statement, [*parameters, text(revision)], size)


def _values(record: Record) -> tuple[Value, ...]:
    return (
        number(record.due_at),
        number(record.ready_at),
        number(record.locked_until),
        text(record.locked_by),
        text(record.revision),
        number(record.fence),
        number(record.attempt),
        text(record.state),
    )


def _checked(record: Record) -> str:
    if len(record.spec) > LARGEST_SPEC // 4:
        size = len(record.spec.encode(errors="surrogatepass"))
        if size > LARGEST_SPEC:
            raise RecordRefusedException(f"{record.key!r} has {size:,} bytes, DynamoDB can't take it. {largest()}")
    return record.spec


def _size(spec: str) -> int:
    return len(spec) if spec.isascii() else 6 * len(spec)  # as the escapes of JSON


def _list(*names: str) -> str:
    return ", ".join(f"'{name}': ?" for name in names)


def _set(*names: str) -> str:
    return " ".join(f'SET "{name}"=?' for name in names)
