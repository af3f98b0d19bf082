"""The statements of ``statements.sql``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache

from pyncette.resources import load_statements

from .settings import Table


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements for one table.

    :ivar swap: applies any changes; ``swap_logged`` also appends lines to the log of runs.
    :ivar delete: applies deletions that append nothing to the log.
    """

    read: str
    swap: str
    swap_logged: str
    delete: str
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

    @classmethod
    @cache
    def of(cls, table: Table, *, within: bool = False) -> Queries:
        """
        :param within: for a caller's transaction: locks rows in the order of their keys, and waits for no other
            transaction.
        """
        texts = dict(load_statements(__package__))
        held, conflicting = ("hold_in_order", "hold_too") if within else ("hold_what_is_free", "pass_by")
        parts = {"{held}": texts[held], "{busy}": texts["busy"], "{conflicting}": texts[conflicting]}
        names = {"{table}": table.sql, "{runs}": table.runs.sql}
        texts["swap_logged"] = texts["swap"].replace("{logged}", texts["logged"])
        texts["swap"] = texts["swap"].replace("{logged}", "")
        return cls(**{field.name: _replaced(texts[field.name], parts | names) for field in fields(cls)})


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text
