"""The statements of ``statements.sql``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from pyncette.resources import load_statements

from .settings import Table


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements for one table.

    :ivar swap_logged: ``swap`` that appends lines to the log of runs.
    """

    read: str
    swap: str
    swap_logged: str
    claim: str
    scan: str
    scan_ready: str
    look: str
    queues: str
    count: str
    clock: str
    identity: str
    runs: str
    runs_of_queues: str
    prune_runs: str

    def within(self) -> Queries:
        """Those for a transaction of a caller, which must not lock anything behind what is locked."""
        return replace(self, swap=_in_order(self.swap), swap_logged=_in_order(self.swap_logged))

    @classmethod
    def of(cls, table: Table) -> Queries:
        texts = dict(load_statements(__package__))
        texts["swap_logged"] = texts["swap"].replace("{logged}", texts["logged"])
        texts["swap"] = texts["swap"].replace("{logged}", "")
        names = {"{table}": table.sql, "{runs}": table.runs.sql}
        return cls(**{field.name: _replaced(texts[field.name], names) for field in fields(cls)})


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text


def _in_order(text: str) -> str:
    return text.replace("FOR UPDATE SKIP LOCKED", "FOR UPDATE NOWAIT")
