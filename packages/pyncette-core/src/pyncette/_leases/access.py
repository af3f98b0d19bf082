"""What operations on instances read and write by: on their own, or in a transaction of the caller."""

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
"""Seconds that a call waits for others to end transactions that have locked its records, all of them together: it keeps
others waiting meanwhile."""

_in_use: set[int] = set()
"""The transactions whose calls are at work, by ``id``."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one call uses.

    :ivar reading: of the control record, as it is outside of the transaction.
    """

    store: Store
    writer: Batching
    clock: Clock
    reading: ControlReading
    observers: Observers

    async def within(self, transaction: object) -> Access:
        """The same in a transaction of the caller; without one, if that is None.

        :raises TypeError, ValueError: it is none that the storage can use.
        :raises RepositoryException: the storage takes no part in transactions.
        :raises RuntimeError: another call uses it at this moment.
        """
        if transaction is None:
            return self
        with alone(transaction):
            store = await self.store.within(await driver_connection(transaction))
        writer = InTransaction(transaction, store, self.clock, self.writer.on_stored)
        return Access(store, writer, self.clock, self.reading.apart(), self.observers)


class InTransaction(Batching):
    """Stores writes one batch after another in the task of the caller, whose connection serves one at a time.

    Nothing is repeated after an error: if that has ended the transaction, it would be stored outside of it.
    """

    _gives_up_at: float | None = None

    def __init__(self, transaction: object, store: Store, clock: Clock, on_stored: Callable[[Record], None]) -> None:
        super().__init__(store, clock, on_stored)
        self._transaction = transaction

    async def send(self, writes: Iterable[Awaited]) -> None:
        """
        :raises RepositoryException: the storage failed.
        :raises RuntimeError: another call uses the transaction at this moment.
        """
        for write in writes:
            self._take(write)
        with alone(self._transaction):
            await self._store_all()

    async def _store_all(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            await self._store_batch(batch)
            self._put_back(batch)
            delays = [write.not_before for write in self._waiting]
            if delays:
                # All of it, in the order of the keys: no writer may hold one record while waiting for an earlier one.
                with self._clock.busy(changes=False):
                    await anyio.sleep(max(0, max(delays) - anyio.current_time()))

    def _are_busy(self, writes: Sequence[Write]) -> None:
        """The first is locked. What follows it was left alone for its sake, and is tried as soon as it is refused."""
        now = anyio.current_time()
        writes[0].busy += 1
        self._gives_up_at = self._gives_up_at or now + LOCK_TIMEOUT
        if now < self._gives_up_at:
            self._retry_busy(writes, writes[0].busy)
        else:
            self._refuse_busy(writes[0])

    async def _split(self, writes: Sequence[Write], error: Exception) -> None:
        """What is not about a record is about the transaction: no other part of the batch would fare better."""
        if not isinstance(error, RecordRefusedException):
            raise error
        await super()._split(writes, error)

    def _change(self, write: Write, now: int) -> Change | None:
        return super()._change(write, now) or write.confirm()


@contextmanager
def alone(transaction: object) -> Iterator[None]:
    """The driver would mix up the replies to two calls, and their savepoints would undo each other's work."""
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
    """The driver's connection under one, or a session, of SQLAlchemy; anything else as it is.

    :raises RepositoryException: SQLAlchemy refuses, because of what happened to the transaction before.
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
        said = str(e).partition("\n")[0]  # the rest may hold values
        raise RepositoryException(f"SQLAlchemy refuses the connection passed as transaction=: {said}") from e


async def _begin(connection: Any, failure: type[Exception]) -> None:
    """Make sure that the driver has begun a transaction. SQLAlchemy has, but some drivers wait for the first statement.

    If that fails on a connection that remains, the storage says better what is wrong with the transaction.
    """
    try:
        # SQLAlchemy gives up a connection whose statement was cancelled, and the transaction with it.
        await completed(connection.exec_driver_sql("SELECT 1"), grace=CANCEL_GRACE)
    except failure as e:
        if connection.invalidated:
            said = str(e).partition("\n")[0]
            raise RepositoryUnavailableException(f"The connection passed as transaction= was lost: {said}") from e
