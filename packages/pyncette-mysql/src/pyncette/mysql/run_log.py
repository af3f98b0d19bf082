"""Queries of the log of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from pyncette.record import RunLine, RunQuestion

from .codec import characters, decoded, text
from .connection import Rows
from .statements import BRANCHES, Statements, chunks


def asking(question: RunQuestion, statements: Statements) -> str:
    """The script that queries each combination of queue and outcome, which an index covers; empty if nothing can
    match."""
    parts = [
        statements.fill("runs", index=index, conditions=" AND ".join(conditions), limit=question.limit)
        for index, conditions in _parts(question)
    ]
    order = f" ORDER BY ended_at DESC, id DESC LIMIT {question.limit}"
    return ";".join(" UNION ALL ".join(chunk) + order for chunk in chunks(parts, BRANCHES))


def answer(question: RunQuestion, replies: Sequence[Rows]) -> list[RunLine]:
    lines = [_line(*row) for rows in replies for row in rows]
    lines.sort(key=lambda line: (line.ended_at, line.id.encode(errors="surrogateescape")), reverse=True)
    return lines[: question.limit]


def _parts(question: RunQuestion) -> Iterator[tuple[str, list[str]]]:
    """The indexes to use and their conditions. An instance has few lines, so its outcomes are filtered without an
    index."""
    conditions = _conditions(question)
    queues = [None] if question.queues is None else [f"r.queue = {text(queue)}" for queue in set(question.queues)]
    outcomes = [None] if question.outcomes is None else [f"r.outcome = {text(one)}" for one in set(question.outcomes)]
    if question.key is not None and queues and outcomes:
        either = [f"({' OR '.join(filter(None, each))})" for each in (queues, outcomes) if each != [None]]
        yield "instance", [f"r.`key` = {text(question.key)}", *either, *conditions]
    elif question.key is None:
        for queue, outcome in product(queues, outcomes):
            index = "_".join(name for name, value in (("queue", queue), ("outcome", outcome)) if value) or "PRIMARY"
            yield index, [*filter(None, (queue, outcome)), *conditions]


def _conditions(question: RunQuestion) -> list[str]:
    at, last = question.after or (question.before, "")
    conditions = [f"r.ended_at >= {question.since}", f"r.ended_at < {question.before}"]
    if question.after is not None:
        conditions += [f"r.ended_at <= {at}", f"(r.ended_at < {at} OR r.id < {text(last)})"]
    if question.containing is not None:
        conditions.append(f"INSTR(r.text, {characters(question.containing)}) > 0")
    return conditions


def _line(id: bytes, queue: bytes, key: bytes, ended_at: int, outcome: bytes, text: str) -> RunLine:  # noqa: A002 - a row
    return RunLine(decoded(id), decoded(queue), decoded(key), ended_at, decoded(outcome), text)
