"""The storage interface: the only thing that a backend implements.

A repository stores records and compares revisions. It decides nothing: what a record becomes is computed by
:mod:`pyncette.lease`. Rules for all methods:

* They take and return many records, in one round trip where the store can.
* They use only the time that they are given, never the store's or the machine's clock (but for :meth:`clock`).
* They may be called concurrently, from one event loop.
* A transport error is raised as :class:`~pyncette.errors.RepositoryUnavailableException`, a record that the store will
  never take as :class:`~pyncette.errors.RecordRefusedException`, both with the driver's error as ``__cause__``. The
  driver does not retry ``swap`` and ``claim`` by itself.
* A cancelled call leaves no connection, lock or transaction behind; whether its write took place is unknown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from . import lease
from .record import Change, Queue, QueueClaim, Record, Ref

CONTRACT_VERSION = 1
"""Grows when a backend that was written against the older interface would no longer be right."""


CLAIM_ATTEMPTS = 3
"""How often :meth:`Repository.claim` looks for something when others have taken all that it found."""


class Repository(ABC):
    """Storage of task instances."""

    @abstractmethod
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        """The records at ``refs``, in their order, None where there is none. Sees every write that was acknowledged."""

    @abstractmethod
    async def swap(self, changes: Sequence[Change]) -> list[bool]:
        """Apply each change if the stored revision is still that of its ``old`` record.

        Each change is atomic and durable by itself; the batch is not a transaction. All keys of a batch are different.

        :return: for each change whether it was applied.
        :raises RepositoryUnavailableException: the outcome of every change is unknown.
        :raises RecordRefusedException: at least one new record can't be stored; the outcome of the others is unknown.
        """

    @abstractmethod
    async def due(self, claims: Sequence[QueueClaim], *, now: int, limit: int) -> list[Record]:
        """Records with ``ready_at <= now``: of each queue the earliest, up to its limit; queues in the order given;
        at most ``limit`` in all. May be served from an index that lags behind."""

    @abstractmethod
    async def scan(self, queue: Queue, *, after: str | None, limit: int) -> list[Record]:
        """The first ``limit`` records of the queue whose key is greater than ``after``, in the order of their keys.

        The order is any total order of the store that does not change, so that a record that moves in time meanwhile
        is neither skipped nor repeated. Fewer than ``limit`` means that there are no more.
        """

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        """Lease the records that :meth:`due` would return, and return them as stored now.

        Each one becomes what :func:`pyncette.lease.claim` makes of it, atomically. Records that others are claiming at
        the same time may be left out. Stores that can, do it in one round trip.
        """
        ends = {c.queue.name: c.locked_until for c in claims}
        for _ in range(CLAIM_ATTEMPTS):
            found = await self.due(claims, now=now, limit=limit)
            changes = [
                Change(r, lease.claim(r, now=now, locked_until=ends[r.queue], token=token, holder=holder))
                for r in found
            ]
            won = await self.swap(changes) if changes else []
            taken = [c.new for c, ok in zip(changes, won, strict=True) if ok and c.new is not None]
            if taken or not found:
                return taken
        return []

    @abstractmethod
    async def next_ready(self, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
        """The earliest ``ready_at`` of all records of ``queues``, of those greater than ``after`` if that is given;
        None when there is none. May be served from an index that lags behind."""

    async def clock(self) -> int | None:
        """The server's time, or None where the store has no clock."""
        return None


class RepositoryFactory(Protocol):
    """Makes a repository, as an async context manager that opens and closes it.

    Its keyword parameters are the options that users may give to ``Pyncette(...)``.
    """

    def __call__(self, **options: Any) -> AbstractAsyncContextManager[Repository]: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """What a distribution registers in the entry point group ``pyncette.backends``, under each of its URL schemes.

    :ivar factory: makes the repository.
    :ivar options_from_url: the factory's options that a URL stands for; ``ValueError`` if it can't be understood.
        Its messages never repeat the URL, which may hold a password.
    """

    factory: Callable[..., AbstractAsyncContextManager[Repository]]
    options_from_url: Callable[[str], Mapping[str, Any]]
