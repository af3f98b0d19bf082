"""The repository: scripts in, records out."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pyncette.bridge import asyncio_only
from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.findings import Finding
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap
from pyncette.repository import Repository

from .codec import Batch, batches, decoded, record, record_before
from .connection import Connections, Database, Rows, Server
from .diagnosis import diagnose
from .errors import IS_LOCKED, LOCK_WAIT_TIMEOUT, number
from .run_log import answer, asking
from .schema import Schema, prepare
from .settings import Settings
from .statements import Statements
from .transaction import borrow

_SWAPS = {0: Swap.CONFLICT, 1: Swap.APPLIED, 2: Swap.BUSY}


class MySQLRepository(Repository):
    """Records in a table of MySQL or MariaDB; every method is one round trip.

    There are two exceptions. A swap of more than 500 changes or 4 MB is one round trip for each 500 or 4 MB, and a
    claim of many dynamic queues that finds something due is two on MySQL.
    """

    keeps_runs = True
    _in_order = False  # whether everything after a busy change counts as busy

    def __init__(self, database: Server, statements: Statements, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._statements = statements

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        if not refs:
            return []
        found = {one.ref: one for one in await self._records(self._statements.read(refs))}
        return [found.get(ref) for ref in refs]

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        """A change of a row that another transaction has locked is busy immediately. An insert of a key that another
        transaction is inserting is busy after a second."""
        try:
            planned = list(batches(changes, self._database.max_packet))
            scripts = [self._script(batch) for batch in planned]
        except UnicodeEncodeError as error:
            raise RecordRefusedException("MySQL stores valid Unicode text only, no lone surrogates.") from error
        swaps = [Swap.CONFLICT if change.new is None else Swap.APPLIED for change in changes]
        for batch, script in zip(planned, scripts, strict=True):
            if self._in_order and Swap.BUSY in swaps:
                outcomes = [(position, Swap.BUSY) for position in batch.positions]
            else:
                outcomes = await self._swap(changes, batch, script)
            for position, outcome in outcomes:
                swaps[position] = outcome
        return swaps

    def _script(self, batch: Batch) -> str:
        return self._statements.swap(batch)

    async def _swap(self, changes: Sequence[Change], batch: Batch, script: str) -> list[tuple[int, Swap]]:
        try:
            replies = await self._database.run(script)
        except RepositoryUnavailableException as error:
            if number(error.__cause__) != LOCK_WAIT_TIMEOUT or not batch.inserts:
                raise
        else:
            return outcomes_in(replies)
        # The server rolled all of it back because of inserts that waited for too long.
        outcomes = await self._inserts_that_wait(changes, batch)
        rest = [position for position in batch.positions if position not in outcomes]
        if len(rest) == len(batch.positions):  # the conflicting row is gone or not visible: insert nothing this time
            outcomes = {position: Swap.BUSY for position in rest if changes[position].old is None}
            rest = [position for position in rest if position not in outcomes]
        outcomes |= zip(rest, await self.swap([changes[position] for position in rest]), strict=True)
        return list(outcomes.items())

    async def _inserts_that_wait(self, changes: Sequence[Change], batch: Batch) -> dict[int, Swap]:
        """The inserts whose records exist or are being inserted by other transactions. Doesn't wait."""
        inserts = [position for position in batch.positions if changes[position].old is None]
        refs = [changes[position].ref for position in inserts]
        _, uncommitted, committed = await self._database.run(self._statements.met(refs))
        busy = {inserts[n]: Swap.BUSY for (n,) in uncommitted}
        return busy | {inserts[n]: Swap.CONFLICT for (n,) in committed}

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        return await self._records(self._statements.scan(queue, after, limit, prefix))

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        return await self._records(self._statements.scan_ready(queue, since, before, after, limit))

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        rows = _all(await self._database.run(self._statements.queues(after, limit)))
        return [decoded(name) for (name,) in rows]

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        """Counts one row more than the limit, to know whether the result is exact."""
        ((found,),) = _all(await self._database.run(self._statements.count(queue, since, before, limit + 1)))
        return Count(min(int(found), limit), exact=found <= limit)

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        wanted = [claim for claim in claims if claim.limit > 0]
        if wanted and limit > 0 and self._statements.wants_narrowing(wanted):
            replies = await self._database.run(self._statements.ready_claims(wanted, now))
            wanted = [wanted[n] for n in sorted(n for (n,) in _all(replies))]
        if not wanted or limit <= 0:
            return []
        script = self._statements.claim(wanted, now=now, limit=limit, token=token, holder=holder)
        taken = [record_before(row) for row in _all(await self._database.run(script))]
        windows: dict[str, list[tuple[int, QueueClaim]]] = {}
        for place, claim in enumerate(wanted):
            windows.setdefault(claim.queue.name, []).append((place, claim))

        def order(one: Record) -> tuple[int, int, str]:
            places = [place for place, claim in windows[one.queue] if claim.since <= one.ready_at < claim.before]
            return places[0], one.ready_at, one.key

        return sorted(taken, key=order)

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        """Needs a second round trip if a dynamic queue has something up to ``until``."""
        times = self._statements.next_ready(queues, after, until)
        script = ";".join([self._statements.clock(), *times, *([self._statements.read(refs)] if refs else [])])
        clock, *replies = await self._database.run(script)
        firsts = [(queues[place], int(ready_at)) for place, ready_at in _all(replies[: len(times)])]
        found = {one.ref: one for one in map(record, _all(replies[len(times) :]))}
        moments = {queue.name: [first] for queue, first in firsts if first <= until}
        more = [queue for queue, first in firsts if first <= until and not queue.static] if limit > 1 else []
        for place, rest in (
            _all(await self._database.run(self._statements.soon(more, after, until, limit))) if more else ()
        ):
            moments[more[place].name].append(int(rest))
        next_ready = min((first for _, first in firsts), default=None)
        return Look(next_ready, [found.get(ref) for ref in refs], int(clock[0][0]), moments)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        script = asking(question, self._statements)
        return answer(question, await self._database.run(script)) if script else []

    async def prune_runs(self, *, before: int, limit: int) -> int:
        """Skips lines that another process is pruning."""
        ((count,),) = _all(await self._database.run(self._statements.prune_runs(before, limit)))
        return int(count)

    async def within(self, connection: Any) -> Repository:
        """Takes a connection of asyncmy. If InnoDB detects a deadlock, it rolls the whole transaction back."""
        borrowed = await borrow(connection, self._database, self._statements.identity(), self._settings.where)
        return _InTransaction(borrowed, self._statements, self._settings, self)

    async def diagnose(self) -> list[Finding]:
        return await diagnose(self._database, self._settings)

    async def clock(self) -> int:
        ((now,),) = _all(await self._database.run(self._statements.clock()))
        return int(now)

    async def _records(self, script: str) -> list[Record]:
        return [record(row) for row in _all(await self._database.run(script))]


class _InTransaction(MySQLRepository):
    """Reads and writes on a connection of the caller.

    At REPEATABLE READ, MySQL's default, reads see a snapshot, while writes see the latest committed rows. At
    SERIALIZABLE, reads take locks too, and wait for other transactions.
    """

    _in_order = True

    def __init__(self, database: Server, statements: Statements, settings: Settings, outer: MySQLRepository) -> None:
        super().__init__(database, statements, settings)
        self._outer = outer
        self._held: set[Ref] = set()  # the records known to be locked by this transaction

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        """Locks the records that exist. If another transaction has locked one, the answer for it and the rest is what
        this transaction sees. Keys without a record are read without a lock, which would block inserts by others in the
        gap around them."""
        committed = await self._outer.read(refs)
        there = [ref for ref, one in zip(refs, committed, strict=True) if one]
        hidden = [ref for ref, one in zip(refs, committed, strict=True) if not one]
        try:
            found = await self._locked(there)
            found |= await self._locked([one.ref for one in await super().read(hidden) if one])
        except RepositoryException as error:
            _see_that_it_is_locked(error)
            return await self._seen(refs, committed)
        return [found.get(ref) for ref in refs]

    async def _locked(self, refs: Sequence[Ref]) -> dict[Ref, Record]:
        """Lock the existing records in this order, up to the first one that another transaction has locked.

        :raises RepositoryException: there is such a record. The earlier locks stay, even after a rollback to a
            savepoint.
        """
        if not refs:
            return {}
        found = {one.ref: one for one in await self._records(self._statements.read(refs, lock=True))}
        self._held |= found.keys()
        return found

    async def _seen(self, refs: Sequence[Ref], committed: list[Record | None]) -> list[Record | None]:
        """The records that this transaction sees; the committed ones where it could not look without waiting."""
        try:
            return await super().read(refs)
        except RepositoryException as error:
            _see_that_it_is_locked(error)
            return committed

    def _script(self, batch: Batch) -> str:
        return self._statements.swap_within(batch)

    async def _swap(self, changes: Sequence[Change], batch: Batch, script: str) -> list[tuple[int, Swap]]:
        """First locks the rows to change, and existing rows that conflict with inserts, in the order of their keys.
        Otherwise a conflicting row would have to be locked after rows with greater keys."""
        read = {position: changes[position].ref for position in batch.positions if changes[position].old is not None}
        try:
            await self._locked([ref for ref in read.values() if ref not in self._held])
            outcomes = outcomes_in(await self._database.run(script))
        except RepositoryException as error:
            _see_that_it_is_locked(error)
        else:
            # No other transaction has locked it, but the snapshot may show an outdated record.
            return [(n, Swap.CONFLICT if outcome is Swap.BUSY and n in read else outcome) for n, outcome in outcomes]
        positions, middle = batch.positions, len(batch.positions) // 2
        if await self._are_there(changes, batch):
            return [(position, Swap.CONFLICT) for position in positions]
        if middle == 0:
            return [(positions[0], Swap.BUSY)]
        # All of it was rolled back because of one change: find that one. Nothing after it is locked.
        swaps = await self.swap([changes[position] for position in positions[:middle]])
        if Swap.BUSY in swaps:
            swaps += [Swap.BUSY] * (len(positions) - middle)
        else:
            swaps += await self.swap([changes[position] for position in positions[middle:]])
        return list(zip(positions, swaps, strict=True))

    async def _are_there(self, changes: Sequence[Change], batch: Batch) -> bool:
        """Whether the batch consists of inserts without a previous read, and some of the records exist. Such an insert
        would wait for a lock, whereas a record that was read is changed, or busy, immediately."""
        if any(changes[position].old is not None for position in batch.positions):
            return False
        refs = [changes[position].ref for position in batch.positions]
        return any(await self._seen(refs, await self._outer.read(refs)))


def _see_that_it_is_locked(error: RepositoryException) -> None:
    """Raise the error unless it means that another transaction has locked a record."""
    if number(error.__cause__) not in IS_LOCKED:
        raise error


@asyncio_only
def mysql_repository(
    *,
    mysql_host: str,
    mysql_user: str,
    mysql_database: str,
    mysql_password: str | None = None,
    mysql_port: int = 3306,
    mysql_table_name: str = "pyncette_tasks",
    mysql_skip_table_create: bool = False,
    mysql_pool_size: int = 10,
    mysql_ssl: bool | ssl.SSLContext | None = None,
    finish_upgrade: bool = False,
) -> AbstractAsyncContextManager[Repository]:
    """A repository in a table of MySQL (8.0.22 or newer) or MariaDB (10.6 or newer).

    :param mysql_table_name: created on opening if it doesn't exist.
    :param mysql_skip_table_create: never create or change the table; :func:`pyncette.mysql.schema_sql` returns the
        statements to run instead.
    :param mysql_pool_size: the maximum number of open connections. They are opened when needed.
    :param mysql_ssl: True encrypts, and trusts any certificate; an ``ssl.SSLContext`` encrypts, and decides which
        certificates to trust. Otherwise nothing is encrypted except the password.
    :param finish_upgrade: confirms that no process of an older release uses the table, or will: the upgrade to the
        format of this release is finished.
    :raises ValueError, TypeError: an option is invalid.

    Opening raises :class:`~pyncette.errors.RepositoryUnavailableException` if the server can't be reached,
    :class:`~pyncette.errors.StorageVersionException` if another version of Pyncette wrote the table, and otherwise
    :class:`~pyncette.errors.RepositoryException`, which says what to do.
    """
    return _opened(
        Settings(
            host=mysql_host,
            port=mysql_port,
            user=mysql_user,
            password=mysql_password,
            database=mysql_database,
            table_name=mysql_table_name,
            skip_table_create=mysql_skip_table_create,
            pool_size=mysql_pool_size,
            tls=mysql_ssl,
            finish_upgrade=finish_upgrade,
        )
    )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Repository]:
    connections = Connections(settings)
    try:
        found = await prepare(connections, settings, Schema.of(settings.table_name))
        database = Database(connections, found.max_packet)
        yield MySQLRepository(database, Statements(settings.table_name, found.dialect), settings)
    finally:
        await connections.close()


def outcomes_in(replies: Iterable[Rows]) -> list[tuple[int, Swap]]:
    """The outcomes in the results of a swap."""
    return [(position, _SWAPS[outcome]) for position, outcome in _all(replies)]


def _all(replies: Iterable[Rows]) -> list[tuple[Any, ...]]:
    return [row for rows in replies for row in rows]
