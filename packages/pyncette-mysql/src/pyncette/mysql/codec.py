"""Encodes records into the text of statements, in batches, and decodes rows into records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from pyncette.errors import RecordRefusedException
from pyncette.record import Change, Record, RunLine

ROWS = 500
"""The maximum number of values in a derived table or a list."""

BYTES = 4 * 2**20
"""The maximum size of a script, unless a single record is larger."""

_AROUND = 4096
"""An upper bound for the size of a script's statements without their values."""


class Dialect(Enum):
    """The SQL dialect, where MySQL and MariaDB differ."""

    MYSQL = "MySQL"
    MARIADB = "MariaDB"


def text(value: str) -> str:
    """A binary literal, which means the same in every SQL mode and character set."""
    return f"x'{value.encode(errors='surrogateescape').hex()}'"


def optional_text(value: str | None) -> str:
    return "NULL" if value is None else text(value)


def optional_number(value: int | None) -> str:
    return "NULL" if value is None else str(value)


def derived(dialect: Dialect, name: str, columns: Sequence[str], rows: Iterable[str]) -> str:
    """A derived table of values. Each row is a text of comma-separated values; there is at least one row."""
    names = ", ".join(columns)
    if dialect is Dialect.MYSQL:
        return f"(VALUES ROW({'),ROW('.join(rows)})) AS {name} ({names})"
    values = "),(".join(rows)
    return f"(WITH given ({names}) AS (VALUES ({values})) SELECT * FROM given) AS {name}"  # noqa: S608 - all literals


def record(row: Sequence[Any]) -> Record:
    """A record from its columns in the order of its fields.

    A record with bytes that are not UTF-8, which can only have been stored by hand, gets a spec that can't be decoded,
    so that it is set aside.
    """
    queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state = row
    try:
        names = queue.decode(), key.decode(), None if locked_by is None else locked_by.decode(), revision.decode()
    except UnicodeDecodeError:
        names = decoded(queue), decoded(key), None if locked_by is None else decoded(locked_by), decoded(revision)
        spec = f"damaged: {spec!a}"
    queue, key, locked_by, revision = names
    return Record(queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state)


def record_before(row: Sequence[Any]) -> Record:
    """A record as it was before its claim: from the column ``was``, where a claim saves what it changes, and from the
    rest."""
    queue, key, due_at, was, spec, state = row
    ready_at, locked_until, fence, attempt, revision, locked_by = was.decode().split(",")
    return record(
        (
            queue,
            key,
            due_at,
            int(ready_at),
            int(locked_until) if locked_until else None,
            bytes.fromhex(locked_by[1:]) if locked_by else None,
            bytes.fromhex(revision),
            int(fence),
            int(attempt),
            spec,
            state,
        )
    )


def decoded(value: bytes) -> str:
    """Decodes UTF-8; other bytes become lone surrogates."""
    return value.decode(errors="surrogateescape")


class _Row(NamedTuple):
    """One change.

    :ivar kind: the list of :class:`Batch` that the change belongs to.
    :ivar values: the values for the statement.
    :ivar written: the row as it is afterwards; empty for a deletion.
    :ivar line: the line for the log of runs if the change is applied; empty for none.
    """

    kind: str
    values: str
    written: str
    line: str = ""


@dataclass(slots=True)
class Batch:
    """Changes that are applied in one transaction."""

    inserts: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    rewrites: list[str] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    lines_of_deletes: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    changes: int = 0
    size: int = _AROUND

    def add(self, row: _Row, position: int) -> None:
        self.positions.append(position)
        getattr(self, row.kind).append(row.values)
        if row.written:
            self.written.append(row.written)
        if row.line:
            (self.lines if row.written else self.lines_of_deletes).append(row.line)
        self.changes += 1
        self.size += _size(row)

    def has_room(self, row: _Row) -> bool:
        return self.changes < ROWS and self.size + _size(row) <= BYTES


def batches(changes: Sequence[Change], max_packet: int) -> Iterator[Batch]:
    """Batches of the changes, sorted by key: every client locks rows in this order.

    :raises RecordRefusedException: a record is larger than the server accepts.
    """
    batch = Batch()
    for position, change in sorted(enumerate(changes), key=_key):
        row = _row(position, change)
        if change.run is not None:
            row = row._replace(line=_line(change, change.run))
        if _AROUND + _largest_size(row, change) > max_packet:
            raise _too_large(change, row, max_packet)
        if batch.changes and not batch.has_room(row):
            yield batch
            batch = Batch()
        batch.add(row, position)
    if batch.changes:
        yield batch


def _key(numbered: tuple[int, Change]) -> str:
    return numbered[1].ref.key


def _row(position: int, change: Change) -> _Row:
    old, new = change.old, change.new
    if new is None:
        if old is None:
            raise ValueError("A change needs an old record, a new one, or both.")
        return _Row("deletes", f"{position},{text(old.queue)},{text(old.key)},{text(old.revision)}", "")
    key = f"{text(new.queue)},{text(new.key)}"
    state, revision = _state(new)
    written = f"{position},{key},{revision},{optional_text(old.revision if old else None)}"
    if old is None:
        return _Row("inserts", f"{key},{state},{characters(new.spec)},{characters(new.state)}", written)
    update = f"{key},{text(old.revision)},{state},{characters(new.state)}"
    if old.spec == new.spec:
        return _Row("updates", update, written)
    return _Row("rewrites", f"{update},{characters(new.spec)}", written)


def _state(new: Record) -> tuple[str, str]:
    revision = text(new.revision)
    locked = f"{optional_number(new.locked_until)},{optional_text(new.locked_by)}"
    return f"{new.due_at},{new.ready_at},{locked},{revision},{new.fence},{new.attempt}", revision


def _line(change: Change, run: RunLine) -> str:
    """The line, preceded by the revision that proves that the change was applied: the one written, or the one
    deleted."""
    record = change.new or change.old
    named = f"{text(change.ref.queue)},{text(change.ref.key)},{text(record.revision if record else '')}"
    what = f"{text(run.queue)},{text(run.key)},{text(run.outcome)},{characters(run.text)}"
    return f"{named},{run.ended_at},{text(run.id)},{what}"


def characters(value: str) -> str:
    """A character literal."""
    return f"_utf8mb4 {text(value)}"


def _size(row: _Row) -> int:
    return len(row.values) + len(row.written) + len(row.line) + len("ROW(),ROW(),ROW(),")


def _largest_size(row: _Row, change: Change) -> int:
    """The size of the record when it is written the next time: then its old revision is sent too, twice."""
    inserted = change.new if change.old is None else None
    return _size(row) + (2 * len(text(inserted.revision)) if inserted is not None else 0)


def _too_large(change: Change, row: _Row, max_packet: int) -> RecordRefusedException:
    spec = change.new.spec if change.new is not None else ""
    size = len(spec.encode())
    # In the statement, each byte of the spec takes two.
    most = max(0, (max_packet - _AROUND - (_largest_size(row, change) - 2 * size)) // 2)
    return RecordRefusedException(
        f"The schedule and arguments of {change.ref.key!r} take {size} bytes; the MySQL server takes at most {most} "
        f"here, as its max_allowed_packet is {max_packet}."
    )
