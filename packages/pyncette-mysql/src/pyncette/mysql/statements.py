"""Fills values into the statements of ``statements.sql``, and combines them into scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from pyncette.record import HELD, Queue, QueueClaim, Ref
from pyncette.resources import load_statements

from .codec import ROWS, Batch, Dialect, derived, text
from .settings import runs_table

T = TypeVar("T")

BRANCHES = 200
"""The maximum number of parts in a UNION."""

COLUMNS = (
    "t.queue, t.`key`, t.due_at, t.ready_at, t.locked_until, t.locked_by, t.revision, t.fence, t.attempt, "
    "t.spec, t.state"
)

_STATE = ("due_at", "ready_at", "locked_until", "locked_by", "revision", "fence", "attempt")
_INSERTED = ("n", "queue", "`key`")
_UPDATED = ("queue", "`key`", "old", *_STATE, "state")
_DELETED = ("n", "queue", "`key`", "old")
_WRITTEN = ("n", "queue", "`key`", "revision", "old")
_LINE = ("queue", "`key`", "revision", "ended_at", "id", "run_queue", "run_key", "outcome", "text")

MANY_PARTS = 16
"""On MySQL, a claim with this many parts first asks which queues have something due: planning a part costs the server
some 40 microseconds, looking into the index only 5."""


class Statements:
    """The statements for one table, in the dialect of its server."""

    def __init__(self, table_name: str, dialect: Dialect) -> None:
        self.dialect = dialect
        self._table = f"`{table_name}`"
        self._runs = f"`{runs_table(table_name)}`"
        self._texts = load_statements(__package__)

    def fill(self, name: str, **values: object) -> str:
        return self._texts[name].format(table=self._table, runs=self._runs, columns=COLUMNS, **values)

    def read(self, refs: Sequence[Ref], *, lock: bool = False) -> str:
        name, columns = "lock" if lock else "read", ("queue", "`key`")
        rows = [f"{text(ref.queue)},{text(ref.key)}" for ref in refs]
        return ";".join(self.fill(name, asked=self._asked(columns, chunk)) for chunk in chunks(rows, ROWS))

    def scan(self, queue: Queue, after: str | None, limit: int, prefix: str) -> str:
        within = "" if after is None else f" AND t.`key` > {text(after)}"
        if prefix:
            literal = text(prefix)
            within += f" AND t.`key` >= {literal} AND t.`key` < {literal[:-1]}ff'"  # a byte that no text has
        return self.fill("scan", queue=text(queue.name), within=within, limit=limit)

    def scan_ready(self, queue: Queue, since: int, before: int, after: tuple[int, str] | None, limit: int) -> str:
        behind = "" if after is None else f" AND (t.ready_at > {after[0]} OR t.`key` > {text(after[1])})"
        start = since if after is None else max(since, after[0])
        return self.fill("scan_ready", queue=text(queue.name), since=start, before=before, after=behind, limit=limit)

    def count(self, queue: Queue, since: int, before: int, limit: int) -> str:
        return self.fill("count", queue=text(queue.name), since=since, before=before, limit=limit)

    def queues(self, after: str | None, limit: int) -> str:
        return self.fill("queues", after=text(after or ""), limit=limit)

    def identity(self) -> str:
        return self.fill("identity", table_name=text(self._table.strip("`")))

    def clock(self) -> str:
        return self.fill("clock")

    def next_ready(self, queues: Sequence[Queue], after: int | None, until: int) -> list[str]:
        """Scripts that return positions of queues with their first moment: all those up to ``until``, and the
        earliest."""
        condition = f" AND t.ready_at < {HELD}" + ("" if after is None else f" AND t.ready_at > {after}")
        places = list(enumerate(queues))
        parts = [
            self.fill("next_of_statics", asked=self._asked(("n", "queue"), chunk), after=condition)
            for chunk in chunks([f"{n},{text(q.name)}" for n, q in places if q.static], ROWS)
        ]
        parts += [
            self.fill("next_of_instances", n=n, queue=text(q.name), after=condition) for n, q in places if not q.static
        ]
        return [
            self.fill("next_ready", parts=" UNION ALL ".join(chunk), until=until) for chunk in chunks(parts, BRANCHES)
        ]

    def soon(self, queues: Sequence[Queue], after: int | None, until: int, limit: int) -> str:
        """A script that returns positions of queues with their moments up to ``until``, except the first."""
        last = min(until, HELD - 1)
        condition = f" AND t.ready_at <= {last}" + ("" if after is None else f" AND t.ready_at > {after}")
        parts = (
            self.fill("soon", n=n, queue=text(queue.name), condition=condition, rest=limit - 1)
            for n, queue in enumerate(queues)
        )
        return ";".join(" UNION ALL ".join(chunk) for chunk in chunks(list(parts), BRANCHES))

    def wants_narrowing(self, claims: Sequence[QueueClaim]) -> bool:
        """Whether finding out first which queues have something due is worth a round trip."""
        return self.dialect is Dialect.MYSQL and sum(1 for _ in runs(claims)) >= MANY_PARTS

    def ready_claims(self, claims: Sequence[QueueClaim], now: int) -> str:
        """A script that returns the positions of the claims that would get something."""
        rows = [f"{n},{text(c.queue.name)},{c.since},{min(c.before, now + 1)}" for n, c in enumerate(claims)]
        columns = ("n", "queue", "since", "past")
        return ";".join(self.fill("ready_claims", asked=self._asked(columns, chunk)) for chunk in chunks(rows, ROWS))

    def claim(self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str) -> str:
        """A transaction whose only rows are the claimed records."""
        leased = {"now": now, "limit": limit, "token": text(token), "holder": text(holder)}
        if self.dialect is Dialect.MYSQL:
            picks = [self._part("pick_instances", "pick_statics", run, now) for run in runs(claims)]
            lease = self.fill("lease_picked", picks=" UNION ALL ".join(picks), **leased)
        else:
            rows = (
                f"{n},{text(c.queue.name)},{c.locked_until},{c.limit},{c.since},{min(c.before, now + 1)}"
                for n, c in enumerate(claims)
            )
            columns = ("n", "queue", "lease_end", "most", "since", "past")
            lease = self.fill("lease_in_turn", asked=self._asked(columns, rows), **leased)
        once = list({claim.queue.name: claim for claim in claims}.values())
        claimed = ";".join(
            self.fill("claimed", asked=self._leases(chunk), token=leased["token"]) for chunk in chunks(once, ROWS)
        )
        return f"START TRANSACTION;{lease};{claimed};COMMIT"

    def swap(self, batch: Batch) -> str:
        """A transaction that returns pairs of a change's position and its outcome: for deletions that were applied or
        were busy, and for other changes that were not applied."""
        return f"START TRANSACTION;SET @pyncette_applied = 0;{self._changing(batch)};COMMIT"

    def swap_within(self, batch: Batch) -> str:
        """The same within a caller's transaction, which must not lock anything after a row that is locked. The caller's
        connection may count the rows found instead of those changed, so the count is not used."""
        changing = self._changing(batch).replace("SKIP LOCKED", "NOWAIT")
        return f"SET @pyncette_applied = NULL;{changing}"

    def _changing(self, batch: Batch) -> str:
        script: list[str] = []
        if batch.inserts:
            script.append(self.fill("insert", rows=f"({'),('.join(batch.inserts)})"))
        if batch.updates:
            script.append(self.fill("update", changes=self._changes(_UPDATED, batch.updates), spec=""))
        if batch.rewrites:
            rewrites = self._changes((*_UPDATED, "spec"), batch.rewrites)
            script.append(self.fill("update", changes=rewrites, spec=", t.spec = held.spec"))
        if batch.deletes:
            deletes = self._changes(_DELETED, batch.deletes)
            script.append(self.fill("find_deleted", changes=deletes))
            if batch.lines_of_deletes:
                script.append(self.fill("log_deleted", changes=self._changes(_LINE, batch.lines_of_deletes)))
            script += [self.fill(name, changes=deletes) for name in ("delete", "find_undeleted")]
        if batch.written:
            written = self._changes(_WRITTEN, batch.written)
            script.append(self.fill("find_refused", changes=written, expected=len(batch.written)))
        if batch.lines:
            script.append(self.fill("log_written", changes=self._changes(_LINE, batch.lines)))
        return ";".join(script)

    def prune_runs(self, before: int, limit: int) -> str:
        return self.fill("prune_runs", before=before, limit=limit)

    def met(self, refs: Sequence[Ref]) -> str:
        """Two scripts that return the positions of existing records: first including uncommitted ones, then without
        them."""
        rows = [f"{n},{text(ref.queue)},{text(ref.key)}" for n, ref in enumerate(refs)]
        return self.fill("find_inserted", changes=self._changes(_INSERTED, rows))

    def _part(self, for_instances: str, for_statics: str, run: Sequence[QueueClaim], now: int) -> str:
        first = run[0]
        window = {"since": first.since, "before": min(first.before, now + 1)}
        if first.queue.static:
            return self.fill(for_statics, asked=self._leases(run), limit=len(run), **window)
        return self.fill(
            for_instances, queue=text(first.queue.name), lease_end=first.locked_until, limit=first.limit, **window
        )

    def _leases(self, claims: Iterable[QueueClaim]) -> str:
        return self._asked(("queue", "lease_end"), (f"{text(c.queue.name)},{c.locked_until}" for c in claims))

    def _changes(self, columns: Sequence[str], rows: Iterable[str]) -> str:
        return derived(self.dialect, "changes", columns, rows)

    def _asked(self, columns: Sequence[str], rows: Iterable[str]) -> str:
        return derived(self.dialect, "asked", columns, rows)


def runs(claims: Sequence[QueueClaim]) -> Iterator[Sequence[QueueClaim]]:
    """The claims in their order; consecutive static ones with the same window form one group."""
    for (static, _, _), group in groupby(claims, key=lambda claim: (claim.queue.static, claim.since, claim.before)):
        together = list(group)
        yield from chunks(together, ROWS if static else 1)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
