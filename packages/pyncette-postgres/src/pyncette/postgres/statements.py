"""The statements, read from the files beside this module."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib.resources import files

from pyncette.migrations import Migration, Phase

from .settings import Table

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_FILE = re.compile(r"(\d{4})_(expand|contract)_\w+\.sql")
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of ``statements.sql`` for one table."""

    read: str
    swap: str
    claim: str
    scan: str
    scan_ready: str
    look: str
    queues: str
    count: str
    clock: str

    @classmethod
    def of(cls, table: Table) -> Queries:
        parts = _NAME.split(_resource("statements.sql"))
        bodies = (_COMMENT.sub("", body).strip().replace("{table}", table.sql) for body in parts[2::2])
        texts = dict(zip(parts[1::2], bodies, strict=True))
        return cls(**{field.name: texts[field.name] for field in fields(cls)})


def migrations() -> tuple[Migration[str], ...]:
    """The files of ``schema``, in the order of their names."""
    names = sorted(entry.name for entry in files(__package__).joinpath("schema").iterdir())
    return tuple(
        Migration(int(parts[1]), Phase(parts[2]), name, _resource("schema", name))
        for name in names
        if (parts := _FILE.fullmatch(name))
    )


def _resource(*path: str) -> str:
    return files(__package__).joinpath(*path).read_text("utf-8")
