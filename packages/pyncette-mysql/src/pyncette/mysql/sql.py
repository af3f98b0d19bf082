"""Values and statements as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from importlib.resources import files
from typing import Any

from pyncette.record import Record

COLUMNS = (
    "t.queue, t.`key`, t.due_at, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt, "
    "t.spec, t.state"
)

SCHEMA = files(__package__).joinpath("schema.sql").read_text("utf-8").strip()


def _load(text: str) -> dict[str, str]:
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    bodies = (re.sub(r"^--.*\n?", "", body, flags=re.MULTILINE).strip() for body in parts[2::2])
    return dict(zip(parts[1::2], bodies, strict=True))


QUERIES = _load(files(__package__).joinpath("queries.sql").read_text("utf-8"))


class Dialect(Enum):
    """Whose SQL it is, where MySQL and MariaDB have different words for the same thing."""

    MYSQL = "MySQL"
    MARIADB = "MariaDB"


def text(value: str) -> str:
    """A literal of bytes, which means the same in every SQL mode and character set."""
    return f"x'{value.encode(errors='surrogateescape').hex()}'"


def optional_text(value: str | None) -> str:
    return "NULL" if value is None else text(value)


def optional_number(value: int | None) -> str:
    return "NULL" if value is None else str(value)


def derived(dialect: Dialect, name: str, columns: Sequence[str], rows: Iterable[str]) -> str:
    """A derived table of values. Each row is text with commas between its values; there is at least one."""
    names = ", ".join(columns)
    if dialect is Dialect.MYSQL:
        return f"(VALUES ROW({'),ROW('.join(rows)})) AS {name} ({names})"
    values = "),(".join(rows)
    return f"(WITH given ({names}) AS (VALUES ({values})) SELECT * FROM given) AS {name}"  # noqa: S608 - all literals


def record(row: tuple[Any, ...]) -> Record:
    """A record from the :data:`COLUMNS`."""
    queue, key, due_at, ready_at, locked_until, locked_by, revision, fence, attempt, spec, state = row
    return Record(
        _decoded(queue),
        _decoded(key),
        due_at,
        ready_at,
        locked_until,
        None if locked_by is None else _decoded(locked_by),
        _decoded(revision),
        fence,
        attempt,
        spec,
        state,
    )


def record_before(row: tuple[Any, ...]) -> Record:
    """A record as it was before it was claimed: from what a claim leaves in ``was``, and what it does not change."""
    queue, key, due_at, was, spec, state = row
    ready_at, locked_until, fence, attempt, revision, locked_by = was.decode().split(",")
    return Record(
        _decoded(queue),
        _decoded(key),
        due_at,
        int(ready_at),
        int(locked_until) if locked_until else None,
        _decoded(bytes.fromhex(locked_by[1:])) if locked_by else None,
        _decoded(bytes.fromhex(revision)),
        int(fence),
        int(attempt),
        spec,
        state,
    )


def _decoded(value: bytes) -> str:
    """Bytes that are no text, which only a hand can have put there, stand in it as lone surrogates."""
    return value.decode(errors="surrogateescape")
