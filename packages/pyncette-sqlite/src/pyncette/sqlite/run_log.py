"""Queries of the log of runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from pyncette.record import SUCCEEDED, RunLine, RunQuestion

from .connection import writing

_CONDITIONS = {
    "queue": "AND queue = :queue",
    "key": "AND key = :key",
    "outcomes": "AND outcome IN (SELECT value FROM json_each(:outcomes))",
    "containing": "AND instr(text, :containing) > 0",
}

_FAILED = f"AND outcome <> '{SUCCEEDED}'"
"""Redundant next to the list of outcomes, but without it SQLite would not use the partial indexes."""


def runs(sql: Mapping[str, str], question: RunQuestion, connection: sqlite3.Connection) -> list[RunLine]:
    """Queries queue by queue, for which there is an index, and merges the results."""
    if question.queues is None:
        return _runs(sql, question, None, connection)
    found = [line for queue in set(question.queues) for line in _runs(sql, question, queue, connection)]
    found.sort(key=lambda line: (line.ended_at, line.id.encode()), reverse=True)
    return found[: question.limit]


def prune(sql: Mapping[str, str], before: int, limit: int, connection: sqlite3.Connection) -> list[int]:
    (any_left,) = connection.execute(sql["has_old_runs"], (before,)).fetchone()
    if not any_left or limit < 1:  # without taking the write lock
        return [0]
    with writing(connection) as cursor:
        return [cursor.execute(sql["prune_runs"], (before, limit)).rowcount]


def _runs(
    sql: Mapping[str, str], question: RunQuestion, queue: str | None, connection: sqlite3.Connection
) -> list[RunLine]:
    at, last = question.after or (question.before, "")
    outcomes = question.outcomes
    asked = {
        "queue": queue,
        "key": question.key,
        "outcomes": None if outcomes is None else json.dumps(list(outcomes)),
        "containing": question.containing,
    }
    conditions = [_CONDITIONS[name] for name, value in asked.items() if value is not None]
    if outcomes is not None and SUCCEEDED not in outcomes:
        conditions.append(_FAILED)
    values = asked | {
        "since": question.since,
        "before": question.before,
        "at": at,
        "id": last,
        "limit": question.limit,
    }
    rows = connection.execute(sql["runs"].replace("{conditions}", " ".join(conditions)), values)
    return [RunLine(*row) for row in rows]
