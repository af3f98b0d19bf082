"""Questions to the log of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from pyncette.record import RunLine

from .codec import characters, decoded, text
from .connection import Rows
from .statements import BRANCHES, Statements, chunks


@dataclass(frozen=True, slots=True)
class Question:
    """The arguments of :meth:`~pyncette.repository.Repository.runs`."""

    queues: Sequence[str] | None
    key: str | None
    outcomes: Sequence[str] | None
    since: int
    before: int
    containing: str | None
    after: tuple[int, str] | None
    limit: int

    def script(self, statements: Statements) -> str:
        """Asks for each queue and outcome, which have an index together; empty if nothing can be found."""
        parts = [
            statements.fill("runs", index=index, conditions=" AND ".join(conditions), limit=self.limit)
            for index, conditions in self._parts()
        ]
        order = f" ORDER BY ended_at DESC, id DESC LIMIT {self.limit}"
        return ";".join(" UNION ALL ".join(chunk) + order for chunk in chunks(parts, BRANCHES))

    def answer(self, replies: Sequence[Rows]) -> list[RunLine]:
        lines = [_line(*row) for rows in replies for row in rows]
        lines.sort(key=lambda line: (line.ended_at, line.id.encode(errors="surrogateescape")), reverse=True)
        return lines[: self.limit]

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        """Indexes with the conditions that they are asked with. An instance has few lines: its others are read over."""
        conditions = self._conditions()
        queues = [None] if self.queues is None else [f"r.queue = {text(queue)}" for queue in set(self.queues)]
        outcomes = [None] if self.outcomes is None else [f"r.outcome = {text(one)}" for one in set(self.outcomes)]
        if self.key is not None and queues and outcomes:
            either = [f"({' OR '.join(filter(None, each))})" for each in (queues, outcomes) if each != [None]]
            yield "instance", [f"r.`key` = {text(self.key)}", *either, *conditions]
        elif self.key is None:
            for queue, outcome in product(queues, outcomes):
                index = "_".join(name for name, value in (("queue", queue), ("outcome", outcome)) if value) or "PRIMARY"
                yield index, [*filter(None, (queue, outcome)), *conditions]

    def _conditions(self) -> list[str]:
        at, last = self.after or (self.before, "")
        conditions = [f"r.ended_at >= {self.since}", f"r.ended_at < {self.before}"]
        if self.after is not None:
            conditions += [f"r.ended_at <= {at}", f"(r.ended_at < {at} OR r.id < {text(last)})"]
        if self.containing is not None:
            conditions.append(f"INSTR(r.text, {characters(self.containing)}) > 0")
        return conditions


def _line(id: bytes, queue: bytes, key: bytes, ended_at: int, outcome: bytes, text: str) -> RunLine:  # noqa: A002 - a row
    return RunLine(decoded(id), decoded(queue), decoded(key), ended_at, decoded(outcome), text)
