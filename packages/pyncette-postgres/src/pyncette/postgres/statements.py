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
    :ivar swap_within: ``swap`` for a transaction of a caller.
    """

    read: str
    swap: str
    swap_logged: str
    swap_within: str
    swap_within_logged: str
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
        """Those for a transaction of a caller, which locks in the order of the keys and waits for nobody."""
        return replace(self, swap=self.swap_within, swap_logged=self.swap_within_logged)

    @classmethod
    def of(cls, table: Table) -> Queries:
        texts = dict(load_statements(__package__))
        swap, logged = texts["swap"], texts["logged"]
        passing = {"{held}": texts["hold_what_is_free"], "{conflicting}": texts["pass_by"]}
        in_order = {"{held}": texts["hold_in_order"], "{conflicting}": texts["hold_too"]}
        texts["swap"] = _replaced(swap, passing | {"{logged}": ""})
        texts["swap_logged"] = _replaced(swap, passing | {"{logged}": logged})
        texts["swap_within"] = _replaced(swap, in_order | {"{logged}": ""})
        texts["swap_within_logged"] = _replaced(swap, in_order | {"{logged}": logged})
        names = {"{table}": table.sql, "{runs}": table.runs.sql}
        return cls(**{field.name: _replaced(texts[field.name], names) for field in fields(cls)})


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text
