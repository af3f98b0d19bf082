"""The log of runs: its lines as columns, and the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyncette.record import SUCCEEDED, Change, RunLine, RunQuestion

from .codec import Columns
from .statements import Queries

_FAILED = f"AND r.outcome <> '{SUCCEEDED}'"
"""Redundant next to the list of outcomes, but without it the server would not use the partial indexes."""


def asking(question: RunQuestion, queries: Queries) -> tuple[str, list[Any]]:
    """The query, and its arguments."""
    at, last = question.after or (question.before, "")
    arguments: list[Any] = [question.since, question.before, at, last, question.limit]
    if question.queues is not None:
        arguments.append(list(question.queues))
    conditions: list[str] = []
    for condition, value in (
        ("AND r.key = ${}", question.key),
        ("AND r.outcome = ANY (${}::text[])", None if question.outcomes is None else list(question.outcomes)),
        ("AND strpos(r.text, ${}) > 0", question.containing),
    ):
        if value is not None:
            arguments.append(value)
            conditions.append(condition.format(len(arguments)))
    if question.outcomes is not None and SUCCEEDED not in question.outcomes:
        conditions.append(_FAILED)
    text = queries.runs if question.queues is None else queries.runs_of_queues
    return text.replace("{conditions}", " ".join(conditions)), arguments


def run_columns(changes: Sequence[Change]) -> Columns | None:
    """The further arguments of ``swap_logged``: the keys of the records, and the columns of the lines. None if no
    change has a line."""
    rows = [
        (change.ref.key, run.ended_at, run.id, run.queue, run.key, run.outcome, run.text)
        for change in changes
        if (run := change.run) is not None
    ]
    return tuple(map(list, zip(*rows, strict=True))) if rows else None


def line(row: Sequence[Any]) -> RunLine:
    return RunLine(*row)
