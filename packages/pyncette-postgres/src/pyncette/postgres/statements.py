"""The statements of ``statements.sql``."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pyncette.resources import load_statements

from .settings import Table


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements for one table."""

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
        texts = load_statements(__package__)
        return cls(**{field.name: texts[field.name].replace("{table}", table.sql) for field in fields(cls)})
