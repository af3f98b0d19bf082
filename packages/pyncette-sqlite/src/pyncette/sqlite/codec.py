"""Converts rows into records, and handles text that is not UTF-8."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from pyncette.record import Record


class Undecodable(str):
    """A text that is not UTF-8. Its bytes are kept as lone surrogates, so that the row can be found and deleted."""

    __slots__ = ()


def text(raw: bytes) -> str:
    """Decodes SQLite's text: the ``text_factory`` of a connection."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Undecodable(raw.decode(errors="surrogateescape"))


def bound(value: str) -> str | bytes:
    """A text as a parameter of a statement."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogateescape")
    return value


def reads_records(connection: sqlite3.Connection) -> Callable[[Sequence[Any]], Record]:
    """A function that makes a record from its columns, in the order of its fields, as this connection returns them."""
    return _record if connection.text_factory is str else _record_or_damaged


def _record(row: Sequence[Any]) -> Record:
    return Record(*row)


def _record_or_damaged(row: Sequence[Any]) -> Record:
    if any(isinstance(value, Undecodable) for value in row):
        return Record(*(*row[:9], f"damaged: {row[9]!a}", row[10]))
    return Record(*row)


def columns(record: Record) -> tuple[int, int, int | None, str | None, str, int, int, str]:
    """The columns that almost every write changes, in the order of the statements."""
    return (
        record.due_at,
        record.ready_at,
        record.locked_until,
        record.locked_by,
        record.revision,
        record.fence,
        record.attempt,
        record.state,
    )
