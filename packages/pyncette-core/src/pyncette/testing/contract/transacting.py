"""Transactions of callers, an optional part: ``within``. Tested if the fixture ``caller_factory`` is overridden.

If a store doesn't have it, one test checks that it says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import sniffio

from pyncette.errors import RecordRefusedException, RepositoryException
from pyncette.record import Change, Record, Swap
from pyncette.repository import Repository

from .base import (
    APPLIED,
    BUSY,
    CONFLICT,
    NOW,
    TASK,
    ContractBase,
    all_of,
    fresh,
    insert,
    numbered,
    record,
    stored,
    want,
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A connection to the store's database, independent of the store.

    :ivar connection: what ``within`` takes.
    :ivar execute: runs ``BEGIN``, ``COMMIT``, ``ROLLBACK``, ``SAVEPOINT one`` and ``ROLLBACK TO one`` on it.
    :ivar close: closes it.
    """

    connection: Any
    execute: Callable[[str], Awaitable[Any]]
    close: Callable[[], Awaitable[Any]]


CallerFactory = Callable[[], AbstractAsyncContextManager[Caller]]


def changed(old: Record) -> Record:
    """The record after a write."""
    return record(old.queue, key=old.key, ready_at=old.ready_at, fence=old.fence + 1)


class TransactionContract(ContractBase):
    @pytest.fixture
    def caller_factory(self) -> CallerFactory | None:
        """Connections to the database of ``repository_factory``, on which no transaction is open; None for a store
        without transactions of callers."""
        return None

    @pytest.fixture
    async def caller(self, repository: Repository, caller_factory: CallerFactory | None) -> Any:
        """A caller; None where there are none, or on trio, on which no driver speaks."""
        if caller_factory is None or sniffio.current_async_library() == "trio":
            with pytest.raises(RepositoryException):
                await repository.within(object())
            self.leaves_out("transactions of callers: the fixture caller_factory gives none, or the loop is trio's")
            yield None
            return
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(caller_factory())

    async def test_a_commit_makes_it_so(self, repository: Repository, caller: Caller | None) -> None:
        """What a transaction inserts, updates and deletes is seen by it at once, by no other client before its commit,
        and by all clients afterwards."""
        if caller is None:
            return
        kept, gone = numbered(2)
        new, after = record("task", "new"), changed(kept)
        await insert(repository, [kept, gone])
        await caller.execute("BEGIN")
        bound = await repository.within(caller.connection)
        assert await bound.swap([Change(None, new), Change(kept, after), Change(gone, None)]) == [APPLIED] * 3
        assert await stored(bound, [kept, gone, new]) == [after, None, new]
        assert await stored(repository, [kept, gone, new]) == [kept, gone, None]
        await caller.execute("COMMIT")
        assert await stored(repository, [kept, gone, new]) == [after, None, new]

    async def test_a_rollback_leaves_nothing(self, repository: Repository, caller: Caller | None) -> None:
        """Neither a rollback of all nor one to a savepoint leaves anything; what came before the savepoint stays. The
        same change can be made again after it."""
        if caller is None:
            return
        (kept,) = numbered(1)
        first, second = record("task", "first"), record("task", "second")
        await insert(repository, [kept])
        await caller.execute("BEGIN")
        bound = await repository.within(caller.connection)
        assert await bound.swap([Change(None, first), Change(kept, None)]) == [APPLIED] * 2
        await caller.execute("ROLLBACK")
        assert await all_of(repository, TASK) == [kept]
        await caller.execute("BEGIN")
        bound = await repository.within(caller.connection)
        assert await bound.swap([Change(None, first)]) == [APPLIED]
        await caller.execute("SAVEPOINT one")
        assert await bound.swap([Change(None, second), Change(kept, None)]) == [APPLIED] * 2
        await caller.execute("ROLLBACK TO one")
        assert await bound.swap([Change(None, second)]) == [APPLIED]
        await caller.execute("ROLLBACK TO one")
        await caller.execute("COMMIT")
        assert await stored(repository, [kept, first, second]) == [kept, first, None]

    async def test_a_transaction_compares_and_swaps(self, repository: Repository, caller: Caller | None) -> None:
        """What others have committed since the transaction began is not overwritten, and seen by the next attempt;
        an insert of a key that is there by then is a conflict. The transaction continues."""
        if caller is None:
            return
        (old,) = numbered(1)
        new, other = record("task", "new"), record("task", "other")
        await insert(repository, [old])
        await caller.execute("BEGIN")
        bound = await repository.within(caller.connection)
        assert await stored(bound, [other]) == [None]
        assert await bound.swap([Change(None, other)]) == [APPLIED]
        if not self.capabilities.one_writer:
            after = changed(old)
            assert await repository.swap([Change(old, after), Change(None, new)]) == [APPLIED] * 2
            assert await bound.swap([Change(None, record("task", "new"))]) == [CONFLICT]
            (refused,) = await bound.swap([Change(old, None)])
            assert refused in (CONFLICT, BUSY)
            assert await stored(bound, [old, new]) == [after, new]
            assert await bound.swap([Change(after, None), Change(new, changed(new))]) == [APPLIED] * 2
        await caller.execute("COMMIT")
        assert await stored(repository, [other]) == [other]

    async def test_others_pass_by_a_transaction(self, repository: Repository, caller: Caller | None) -> None:
        """While a transaction holds a record, no swap nor claim of others gets it: it is busy, or they wait; the
        transaction itself never waits long for what others hold. After its commit they meet a conflict."""
        if caller is None:
            return
        held, free = numbered(2)
        new, after = record("task", "new"), changed(held)
        await insert(repository, [held, free])
        await caller.execute("BEGIN")
        bound = await repository.within(caller.connection)
        assert await bound.swap([Change(held, after), Change(None, new)]) == [APPLIED] * 2
        swaps: list[Swap] = []
        taken: list[Record] = []

        async def others() -> None:
            swaps.extend(await repository.swap([Change(held, None), Change(None, record("task", "new"))]))
            taken.extend(await repository.claim(want(TASK), now=NOW, limit=9, token=fresh(), holder=fresh()))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(others)
            await anyio.sleep(0.3)
            await caller.execute("COMMIT")
        assert APPLIED not in swaps
        assert free in taken
        assert held not in taken
        assert await repository.swap([Change(held, None), Change(None, record("task", "new"))]) == [CONFLICT] * 2

    async def test_transactions_of_two_callers(
        self, repository: Repository, caller: Caller | None, caller_factory: CallerFactory | None
    ) -> None:
        """A record that one of them has written is busy for the other, and so is what comes behind it in a batch, which
        stays free. Neither waits for long, and both can continue with others."""
        if caller is None or caller_factory is None or self.capabilities.one_writer:
            return
        first, second = numbered(2)
        new = record("task", "new")
        await insert(repository, [first, second])
        async with caller_factory() as other:
            await caller.execute("BEGIN")
            bound = await repository.within(caller.connection)
            assert await bound.swap([Change(first, None), Change(None, new)]) == [APPLIED] * 2
            await other.execute("BEGIN")
            theirs = await repository.within(other.connection)
            with anyio.fail_after(10):
                assert await theirs.swap([Change(second, None), Change(first, changed(first))]) == [BUSY] * 2
                assert await theirs.swap([Change(second, None)]) == [APPLIED]
                assert await theirs.swap([Change(None, record("task", "new"))]) == [BUSY]
                assert await bound.swap([Change(second, None)]) == [BUSY]
            await caller.execute("COMMIT")
            await other.execute("COMMIT")
        assert await stored(repository, [first, second, new]) == [None, None, new]

    async def test_nothing_behind_what_is_busy_is_locked(
        self, repository: Repository, caller: Caller | None, caller_factory: CallerFactory | None
    ) -> None:
        """A batch whose first change is busy locks nothing, however large it is."""
        if caller is None or caller_factory is None or self.capabilities.one_writer:
            return
        first, *rest = records = numbered(600)
        await insert(repository, records)
        async with caller_factory() as other:
            await caller.execute("BEGIN")
            bound = await repository.within(caller.connection)
            assert await bound.swap([Change(first, None)]) == [APPLIED]
            await other.execute("BEGIN")
            theirs = await repository.within(other.connection)
            assert set(await theirs.swap([Change(one, None) for one in records])) == {BUSY}
            assert set(await bound.swap([Change(one, None) for one in rest])) == {APPLIED}
            await caller.execute("COMMIT")
            await other.execute("ROLLBACK")
        assert await all_of(repository, TASK) == []

    @pytest.mark.parametrize("inserted", [False, True], ids=["changed", "inserted"])
    async def test_a_transaction_locks_what_it_conflicts_with(
        self,
        repository: Repository,
        caller: Caller | None,
        caller_factory: CallerFactory | None,
        inserted: bool,
    ) -> None:
        """Behind a change that is a conflict, a batch locks nothing, or the record of the conflict as well: the next
        attempt never waits for an earlier record while it holds a later one."""
        if caller is None or caller_factory is None or self.capabilities.one_writer:
            return
        first, second = numbered(2)
        await insert(repository, [second] if inserted else [first, second])
        async with caller_factory() as other:
            await caller.execute("BEGIN")
            bound = await repository.within(caller.connection)
            there = first if inserted else changed(first)
            assert await repository.swap([Change(None if inserted else first, there)]) == [APPLIED]
            mine = Change(None, changed(first)) if inserted else Change(first, None)
            refused, behind = await bound.swap([mine, Change(second, None)])
            assert refused in (CONFLICT, BUSY)
            await other.execute("BEGIN")
            theirs = await repository.within(other.connection)
            if behind is APPLIED:
                assert await theirs.swap([Change(there, None)]) == [BUSY]
                assert await bound.swap([Change(there, None)]) == [APPLIED]
            else:
                assert behind is BUSY
                assert await theirs.swap([Change(second, None)]) == [APPLIED]
            await caller.execute("COMMIT")
            await other.execute("ROLLBACK")

    async def test_a_refused_record_ends_no_transaction(self, repository: Repository, caller: Caller | None) -> None:
        """A record that the store can't take is refused as elsewhere, and the transaction continues."""
        if caller is None:
            return
        before, after = record("task", "before"), record("task", "after")
        await caller.execute("BEGIN")
        bound = await repository.within(caller.connection)
        assert await bound.swap([Change(None, before)]) == [APPLIED]
        with pytest.raises(RecordRefusedException):
            await bound.swap([Change(None, record("task", "refused", due_at=2**64, spec="\ud800"))])
        assert await bound.swap([Change(None, after)]) == [APPLIED]
        await caller.execute("COMMIT")
        assert {one.key for one in await all_of(repository, TASK)} == {before.key, after.key}

    async def test_a_cancelled_call_ends_no_transaction(self, repository: Repository, caller: Caller | None) -> None:
        """Cancelled at any moment, a swap has taken place within the transaction, or not; the connection can be used,
        and the transaction decides."""
        if caller is None:
            return
        records = numbered(self.sized(30, quick=5))
        await caller.execute("BEGIN")
        bound = await repository.within(caller.connection)
        for number, one in enumerate(records):
            with anyio.move_on_after(number * 0.0002):
                await bound.swap([Change(None, one)])
        there = await stored(bound, records)
        assert await stored(repository, records) == [None] * len(records)
        await caller.execute("COMMIT")
        assert await stored(repository, records) == there

    async def test_connections_that_are_none(self, repository: Repository, caller: Caller | None) -> None:
        """Something else than a connection is a ``TypeError``, one without a transaction or that is closed a
        ``ValueError``; both say what to write."""
        if caller is None:
            return
        with pytest.raises(TypeError, match="object"):
            await repository.within(object())
        await caller.execute("BEGIN")
        await repository.within(caller.connection)
        await caller.execute("COMMIT")
        with pytest.raises(ValueError, match="No transaction"):
            await repository.within(caller.connection)
        await caller.close()
        with pytest.raises(ValueError, match="closed"):
            await repository.within(caller.connection)
