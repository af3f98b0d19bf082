"""The storage interface: the only thing that a backend implements.

A repository stores records and compares revisions. It decides nothing: what a record becomes is computed by
:mod:`pyncette.lease`. Rules for all methods:

* They take and return many records, in one round trip if the store can.
* They use only the time that they are given, never the store's or the machine's clock (except for the time that
  :meth:`Repository.clock` and :meth:`Repository.look` report).
* They may be called concurrently, from one event loop.
* A transport error is raised as :class:`~pyncette.errors.RepositoryUnavailableException`, a record that the store will
  never take as :class:`~pyncette.errors.RecordRefusedException`, both with the driver's error as ``__cause__``. The
  driver does not retry ``swap`` and ``claim`` by itself.
* A damaged record doesn't prevent the others from being returned: it is returned with what can be read of it and an
  invalid ``spec``, and core sets it aside.
* A cancelled call leaves no connection, lock or transaction behind; whether its write took place is unknown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from . import lease
from .errors import UnsupportedException
from .findings import Finding
from .record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap

T = TypeVar("T")

CONTRACT_VERSION = 1
"""Grows when a backend that was correct for the older interface no longer is."""


CLAIM_ATTEMPTS = 5
"""How often in a row :meth:`Repository.claim` looks again after others have taken everything it found. As long as it
gets some records, it continues, because returning fewer than the limit would mean that there are no more."""


class Repository(ABC):
    """Storage of task instances.

    :ivar keeps_runs: whether the store has a log of runs, an optional part: :meth:`swap` appends the lines that changes
        carry, together with the change where the store has transactions, and :meth:`runs` and :meth:`prune_runs` work.
    """

    keeps_runs: bool = False

    @abstractmethod
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        """The records at ``refs``, in their order, None where there is none. Sees every write that was acknowledged."""

    @abstractmethod
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """Apply each change if the stored revision is still that of its ``old`` record.

        Each change is atomic and durable by itself; the batch is not a transaction. All keys of a batch are different.
        Never waits for a record that another transaction has locked: that change is answered
        :attr:`~pyncette.record.Swap.BUSY` and the others proceed.

        :return: the outcome of each change.
        :raises RepositoryUnavailableException: the outcome of every change is unknown.
        :raises RecordRefusedException: at least one new record can't be stored; the outcome of the others is unknown.
        """

    @abstractmethod
    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        """What an app asks at each poll, in one round trip if the store can.

        :param until: also return the moments of each queue up to this one, at most ``limit`` for each queue. Only
            queues that have such moments may add to the cost, so that a single call tells an app what comes due within
            the next interval.
        :return: the earliest ``ready_at`` of all records of ``queues`` that is not held and, if ``after`` is given,
            greater than it; for each queue, the moments up to ``until``; the records at ``refs``; the store's time.
            Moments may come from an index that lags behind; records show every acknowledged write. The reply need not
            be a snapshot: a concurrent write may show in only a part of it.
        """

    @abstractmethod
    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        """The first ``limit`` records of the queue whose key starts with ``prefix`` and is greater than ``after``, in
        the order of their keys.

        The order is any total order of the store that doesn't change, so that a record that moves in time between pages
        is neither skipped nor repeated. Fewer than ``limit`` means that there are no more.
        """

    @abstractmethod
    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        """The first ``limit`` records of the queue with ``since <= ready_at < before``, in the order of ``ready_at``.

        :param after: ``ready_at`` and key of the last record of the previous page: continue after it. Records with the
            same ``ready_at`` come in an order of the store's own, which stays the same.

        Its cost doesn't depend on the number of records outside the range. May be served from an index that lags
        behind; what is returned was stored at some moment since the call started. Fewer than ``limit`` means that there
        are no more.
        """

    @abstractmethod
    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        """The first ``limit`` names of queues greater than ``after``, in an order of the store's own.

        Names every queue that holds a record, static ones and reserved ones included, without reading all records; may
        also name queues that have become empty. Fewer than ``limit`` means that there are no more.
        """

    @abstractmethod
    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        """How many records of the queue have ``since <= ready_at < before``.

        Exact up to ``limit``. Beyond that, the store may return a lower bound or an estimate, and does so if an exact
        count would take long.
        """

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        """Lease records that are ready: for each of ``claims``, in the order given, the earliest, up to its limit; at
        most ``limit`` in all.

        Each record becomes what :func:`pyncette.lease.claim` makes of it, atomically. Records that others are claiming
        at the same time may be left out. Fewer than the limit means that there are no more: if others were faster, look
        again. Takes one round trip if the store can. May miss records that a lagging index doesn't show yet.

        :return: the records as they were before the claim.
        """
        ends = {c.queue.name: c.locked_until for c in claims}
        taken: list[Record] = []
        lost: set[str] = set()
        attempts = 0
        while attempts < CLAIM_ATTEMPTS:
            found = await ready_for(self, claims, now=now, limit=limit)
            if all(r.revision in lost for r in found):
                break  # locked by a transaction, or from a lagging index
            changes = [
                Change(r, lease.claim(r, now=now, locked_until=ends[r.queue], token=token, holder=holder))
                for r in found
            ]
            swaps = await self.swap(changes)
            new = [record for record, swap in zip(found, swaps, strict=True) if swap is Swap.APPLIED]
            taken += new
            if len(new) == len(found):
                break
            attempts = 0 if new else attempts + 1
            lost.update(r.revision for r in found)
            claims, limit = [_left(claim, new) for claim in claims], limit - len(new)
        return taken

    async def within(self, connection: Any) -> Repository:
        """A repository for one call of an app in a transaction of the caller: its ``read`` and ``swap`` run on the
        connection, in the transaction that is open there.

        An optional part, for stores with transactions. It never closes the connection, and never begins, commits or
        rolls back on it; the settings of the session remain what they were. The transaction remains usable after every
        error but one of transport. Reading sees what the transaction has written, and otherwise what is committed.
        What the transaction's isolation level hides is a conflict, busy, or an error.

        Waits for no lock of another transaction, except one that inserts the same key, and for that at most a second.
        Locks are taken in the order of the keys. In a batch, no change is made behind one that is busy; the changes
        behind it are busy as well. A change that is a conflict locks its record, too. So callers never hold one record
        while waiting for an earlier one, and the caller's transaction is never the victim of a deadlock with the
        store's own writes.

        :param connection: the driver's own, unwrapped.
        :raises TypeError: it is no connection of a supported driver; the message names those.
        :raises ValueError: it is closed, no transaction is open, or it belongs to another database; the message says
            what to write.
        """
        raise UnsupportedException(
            "This storage takes no part in the caller's transactions: transaction=… works on PostgreSQL, MySQL and "
            "files of SQLite, with asyncio. Leave it out, and make sure that the call can be repeated."
        )

    async def clock(self) -> int | None:
        """The server's time in microseconds since the epoch, or None if the store has no clock."""
        return None

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        """Lines of the run log, newest first; those of the same moment in the descending order of their ids.

        Sees every line that was acknowledged. Fewer than the question's limit means that there are no more.
        """
        raise UnsupportedException("This storage keeps no log of runs.")

    async def prune_runs(self, *, before: int, limit: int) -> int:
        """Delete at most ``limit`` lines with ``ended_at < before``; returns how many. Never delays claims."""
        raise UnsupportedException("This storage keeps no log of runs.")

    async def diagnose(self) -> list[Finding]:
        """The store's self-check against the requirements in its documentation: version, persistence, permissions,
        isolation, connections, indexes, bloat, what keeps the server from cleaning up, unfinished upgrades.

        An optional part, for operators: it changes nothing, and may take seconds. What the user has no permission to
        see is reported as unknown, and raises nothing.
        """
        return []


def _left(claim: QueueClaim, taken: Sequence[Record]) -> QueueClaim:
    """What remains of a claim that got these records."""
    name, since, before = claim.queue.name, claim.since, claim.before
    return replace(claim, limit=claim.limit - sum(r.queue == name and since <= r.ready_at < before for r in taken))


async def ready_for(repository: Repository, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
    """The records that the inherited claim tries to lease: the earliest ready ones of each queue."""
    found: list[Record] = []
    for each in claims:
        wanted = min(each.limit, limit - len(found))
        if wanted > 0:
            before = min(each.before, now + 1)
            found += await repository.scan_ready(each.queue, since=each.since, before=before, limit=wanted)
    return found


class Remembered(Generic[T]):
    """Caches what a backend derives from the queues that it is asked about.

    An app asks about the same queues at each poll, and there may be thousands. It passes the same tuple each time, so
    the result for the last tuple is reused.
    """

    def __init__(self, make: Callable[[Sequence[Queue]], T]) -> None:
        self._make = make
        self._queues: Sequence[Queue] = ()
        self._made: T = make(())

    def knows(self, queues: Sequence[Queue]) -> bool:
        """Whether these were the last ones."""
        return queues is self._queues

    def of(self, queues: Sequence[Queue]) -> T:
        """What ``make`` returns for them."""
        if self.knows(queues):
            return self._made
        made = self._make(queues)
        if isinstance(queues, tuple):  # a tuple can't have changed
            self._queues, self._made = queues, made
        return made


class RepositoryFactory(Protocol):
    """Creates a repository, as an async context manager that opens and closes it.

    Its keyword parameters are the options that users may give to ``Pyncette(...)``.
    """

    def __call__(self, **options: Any) -> AbstractAsyncContextManager[Repository]: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What a distribution registers in the entry point group ``pyncette.backends``, under each of its URL schemes.

    :ivar factory: creates the repository.
    :ivar options_from_url: the factory's options that a URL stands for; ``ValueError`` if it can't be understood.
        Its messages never repeat the URL, which may hold a password.
    """

    factory: Callable[..., AbstractAsyncContextManager[Repository]]
    options_from_url: Callable[[str], Mapping[str, Any]]
