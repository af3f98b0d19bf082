"""The statements that read, and those that claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from pyncette.record import Queue, QueueClaim, Ref

from .sql import COLUMNS, QUERIES, Dialect, derived, text

T = TypeVar("T")

ROWS = 500
"""How many values a derived table or a list holds at most."""

BRANCHES = 200
"""How many parts a UNION has at most."""

MANY_PARTS = 16
"""From so many parts on, a claim asks first which queues have something due (MySQL): planning a part costs the server
some 40 microseconds, asking the index only 5."""


class Statements:
    """The statements for one table, in the words of one server."""

    def __init__(self, table_name: str, dialect: Dialect) -> None:
        self.dialect = dialect
        self._table = f"`{table_name}`"

    def fill(self, name: str, **values: object) -> str:
        return QUERIES[name].format(table=self._table, columns=COLUMNS, **values)

    def read(self, refs: Sequence[Ref]) -> str:
        return ";".join(
            self.fill("read", asked=self._asked(("queue", "`key`"), (f"{text(r.queue)},{text(r.key)}" for r in chunk)))
            for chunk in chunks(refs, ROWS)
        )

    def scan(self, queue: Queue, after: str | None, limit: int) -> str:
        condition = "" if after is None else f" AND t.`key` > {text(after)}"
        return self.fill("scan", queue=text(queue.name), after=condition, limit=limit)

    def clock(self) -> str:
        return self.fill("clock")

    def due(self, claims: Sequence[QueueClaim], now: int, limit: int) -> str:
        """As many results as there are statements; together they may be more than ``limit``."""
        parts = [self._part("due_instances", "due_statics", run, now) for run in runs(claims)]
        return ";".join(f"{' UNION ALL '.join(chunk)} LIMIT {limit}" for chunk in chunks(parts, BRANCHES))

    def next_ready(self, queues: Sequence[Queue], after: int | None) -> str:
        condition = "" if after is None else f" AND t.ready_at > {after}"
        parts = [
            self.fill("next_of_statics", asked=self._asked(("queue",), (text(q.name) for q in chunk)), after=condition)
            for chunk in chunks([q for q in queues if q.static], ROWS)
        ]
        parts += [self.fill("next_of_instances", queue=text(q.name), after=condition) for q in queues if not q.static]
        return ";".join(self.fill("next_ready", parts=" UNION ALL ".join(chunk)) for chunk in chunks(parts, BRANCHES))

    def wants_narrowing(self, claims: Sequence[QueueClaim]) -> bool:
        """Whether it is worth a round trip to find out first which queues have something due."""
        return self.dialect is Dialect.MYSQL and sum(1 for _ in runs(claims)) >= MANY_PARTS

    def due_queues(self, claims: Sequence[QueueClaim], now: int) -> str:
        """The positions of the claims whose queues have something due."""
        rows = [f"{n},{text(claim.queue.name)}" for n, claim in enumerate(claims)]
        return ";".join(
            self.fill("due_queues", asked=self._asked(("n", "queue"), chunk), now=now) for chunk in chunks(rows, ROWS)
        )

    def claim(self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str) -> str:
        """A transaction. The results of its statements are no rows but those of the claimed records."""
        leased = {"now": now, "limit": limit, "token": text(token), "holder": text(holder)}
        if self.dialect is Dialect.MYSQL:
            picks = [self._part("pick_instances", "pick_statics", run, now) for run in runs(claims)]
            lease = self.fill("lease_picked", picks=" UNION ALL ".join(picks), **leased)
        else:
            rows = (f"{n},{text(c.queue.name)},{c.locked_until},{c.limit}" for n, c in enumerate(claims))
            lease = self.fill("lease_in_turn", asked=self._asked(("n", "queue", "lease_end", "most"), rows), **leased)
        claimed = ";".join(
            self.fill("claimed", asked=self._leases(chunk), token=leased["token"]) for chunk in chunks(claims, ROWS)
        )
        return f"START TRANSACTION;{lease};{claimed};COMMIT"

    def _part(self, for_instances: str, for_statics: str, run: Sequence[QueueClaim], now: int) -> str:
        if run[0].queue.static:
            return self.fill(for_statics, asked=self._leases(run), now=now, limit=len(run))
        (claim,) = run
        return self.fill(
            for_instances, queue=text(claim.queue.name), lease_end=claim.locked_until, now=now, limit=claim.limit
        )

    def _leases(self, claims: Iterable[QueueClaim]) -> str:
        return self._asked(("queue", "lease_end"), (f"{text(c.queue.name)},{c.locked_until}" for c in claims))

    def _asked(self, columns: Sequence[str], rows: Iterable[str]) -> str:
        return derived(self.dialect, "asked", columns, rows)


def runs(claims: Sequence[QueueClaim]) -> Iterator[Sequence[QueueClaim]]:
    """The claims in their order, static ones that follow each other together."""
    for static, group in groupby(claims, key=lambda claim: claim.queue.static):
        together = list(group)
        yield from chunks(together, ROWS if static else 1)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
