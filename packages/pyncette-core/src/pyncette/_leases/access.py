"""How operations on instances read and write: on their own, or within the caller's transaction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from pyncette.borrowing import is_closed
from pyncette.cancellation import CANCEL_GRACE, completed
from pyncette.clock import Clock
from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.observer import Observers
from pyncette.record import Change, Record

from .control import ControlReading
from .store import Store
from .writer import Batching
from .writes import Awaited, Write

LOCK_TIMEOUT = 10.0
"""Seconds that a call waits, in total, for other transactions that have locked its records. It is limited because the
caller's own transaction keeps others waiting meanwhile."""

_in_use: set[int] = set()
"""The ``id`` of each transaction that has a call in progress."""


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that one call reads and writes through.

    :ivar reading: the control record, as it is outside the transaction.
    """

    store: Store
    writer: Batching
    clock: Clock
    reading: ControlReading
    observers: Observers

    async def within(self, transaction: object) -> Access:
        """The same access within the caller's transaction; itself if ``transaction`` is None.

        :raises TypeError, ValueError: the storage can't use it.
        :raises RepositoryException: the storage does not support transactions of callers.
        :raises RuntimeError: another call is using it.
        """
        if transaction is None:
            return self
        with exclusive(transaction):
            store = await self.store.within(await driver_connection(transaction))
        writer = InTransaction(transaction, store, self.clock, self.writer.on_stored)
        return Access(store, writer, self.clock, self.reading.independent(), self.observers)


class InTransaction(Batching):
    """Stores writes one batch at a time, in the caller's task, because a connection serves one call at a time.

    Nothing is retried after an error: if the error has ended the transaction, the retry would be stored outside it.
    """

    _gives_up_at: float | None = None

    def __init__(self, transaction: object, store: Store, clock: Clock, on_stored: Callable[[Record], None]) -> None:
        super().__init__(store, clock, on_stored)
        self._transaction = transaction

    async def send(self, writes: Iterable[Awaited]) -> None:
        """
        :raises RepositoryException: the storage failed.
        :raises RuntimeError: another call is using the transaction.
        """
        for write in writes:
            self._take(write)
        with exclusive(self._transaction):
            await self._store_all()

    async def _store_all(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            await self._store_batch(batch)
            self._put_back(batch)
            delays = [write.not_before for write in self._waiting]
            if delays:
                # Wait before storing any of the rest. Records are locked in key order, so that no writer waits for one
                # while it holds a later one.
                with self._clock.busy(changes=False):
                    await anyio.sleep(max(0, max(delays) - anyio.current_time()))

    def _are_busy(self, writes: Sequence[Write]) -> None:
        """The first record is locked. Those after it were not tried, to keep the order of locks; once the first is
        refused, they are."""
        now = anyio.current_time()
        writes[0].busy += 1
        self._gives_up_at = self._gives_up_at or now + LOCK_TIMEOUT
        if now < self._gives_up_at:
            self._retry_busy(writes, writes[0].busy)
        else:
            self._refuse_busy(writes[0])

    async def _split(self, writes: Sequence[Write], error: Exception) -> None:
        """Only an error about a record is worth splitting for. Any other concerns the transaction, and would hit the
        rest of the batch as well."""
        if not isinstance(error, RecordRefusedException):
            raise error
        await super()._split(writes, error)

    def _change(self, write: Write, now: int) -> Change | None:
        return super()._change(write, now) or write.confirm()


@contextmanager
def exclusive(transaction: object) -> Iterator[None]:
    """Refuse a second call on the same transaction. The driver would mix up their replies, and their savepoints would
    undo each other's work."""
    if id(transaction) in _in_use:
        raise RuntimeError(
            "Another call uses the connection or session passed as transaction= at this moment, and it can serve one "
            "at a time: await one call after the other."
        )
    _in_use.add(id(transaction))
    try:
        yield
    finally:
        _in_use.remove(id(transaction))


async def driver_connection(transaction: Any) -> Any:
    """The driver's connection beneath a connection or session of SQLAlchemy; anything else is returned unchanged.

    :raises RepositoryException: SQLAlchemy refuses, because of something that happened to the transaction earlier.
    """
    sqlalchemy = sys.modules.get("sqlalchemy.ext.asyncio")
    if sqlalchemy is None:
        return transaction
    errors = sys.modules["sqlalchemy.exc"]
    try:
        if isinstance(transaction, (sqlalchemy.AsyncSession, sqlalchemy.async_scoped_session)):
            transaction = await transaction.connection()
        if not isinstance(transaction, sqlalchemy.AsyncConnection):
            return transaction
        if transaction.closed:
            raise is_closed()
        await _begin(transaction, errors.DBAPIError)
        return (await transaction.get_raw_connection()).driver_connection
    except errors.SQLAlchemyError as e:
        said = str(e).partition("\n")[0]  # the rest may contain values
        raise RepositoryException(f"SQLAlchemy refuses the connection passed as transaction=: {said}") from e


async def _begin(connection: Any, failure: type[Exception]) -> None:
    """Make sure that the driver has begun a transaction. SQLAlchemy has, but some drivers wait for the first statement.

    If that fails but the connection survives, the error is ignored: the storage's own error describes the problem
    better.
    """
    try:
        # SQLAlchemy discards a connection whose statement was cancelled, and the transaction with it.
        await completed(connection.exec_driver_sql("SELECT 1"), grace=CANCEL_GRACE)
    except failure as e:
        if connection.invalidated:
            said = str(e).partition("\n")[0]
            raise RepositoryUnavailableException(f"The connection passed as transaction= was lost: {said}") from e
