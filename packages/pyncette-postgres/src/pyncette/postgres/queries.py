"""The statements, read from the files beside this module."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib.resources import files

from .settings import Table

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of ``queries.sql`` for one table."""

    read: str
    swap: str
    due: str
    claim: str
    scan: str
    next_ready: str
    clock: str

    @classmethod
    def of(cls, table: Table) -> Queries:
        parts = _NAME.split(_resource("queries.sql"))
        bodies = (_COMMENT.sub("", body).strip().replace("{table}", table.sql) for body in parts[2::2])
        texts = dict(zip(parts[1::2], bodies, strict=True))
        return cls(**{field.name: texts[field.name] for field in fields(cls)})


def schema_steps() -> tuple[str, ...]:
    """The files of ``schema``: the first one makes the table, each of the others brings it one version further."""
    folder = files(__package__).joinpath("schema")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(_resource("schema", name) for name in names)


def _resource(*path: str) -> str:
    return files(__package__).joinpath(*path).read_text("utf-8")
