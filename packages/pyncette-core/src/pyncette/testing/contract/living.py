"""Opening, closing, and the clock."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

import anyio
import pytest

from pyncette.repository import Repository

from .base import MINUTE, NOW, SECOND, TASK, ContractBase, Factory, insert, numbered, record, stored, want
from .cancelling import cancelled_at


class LifeContract(ContractBase):
    async def test_clients_come_and_go(self, repository_factory: Factory) -> None:
        """A repository can be opened and closed again and again, used or not."""
        for number in range(5):
            async with repository_factory() as repository:
                if number % 2:
                    await insert(repository, [record(name=str(number))])

    async def test_closing_keeps_the_data(self, repository_factory: Factory) -> None:
        """Acknowledged writes are there after all clients were closed, if the store is persistent at all."""
        records = numbered(10)
        async with repository_factory() as repository:
            await insert(repository, records)
        async with repository_factory() as repository:
            found = await stored(repository, records)
        assert found == (records if self.capabilities.persistent else [None] * 10)

    async def test_errors_pass_through(self, repository_factory: Factory) -> None:
        """An error of the application closes the repository and is raised unchanged."""
        error = LookupError("of the application")

        async def use() -> None:
            async with repository_factory() as repository:
                await insert(repository, [record()])
                raise error

        with pytest.raises(LookupError) as caught:
            await use()
        assert caught.value is error

    async def test_cancelled_while_open(self, repository_factory: Factory) -> None:
        """Cancellation closes the repository, and another one can be opened."""
        with anyio.fail_after(30):
            with anyio.CancelScope() as scope:
                async with repository_factory() as repository:
                    await insert(repository, [record(name="first")])
                    scope.cancel()
                    await anyio.sleep_forever()
            async with repository_factory() as repository:
                await insert(repository, [record(name="second")])

    async def test_clients_are_independent(self, clients: list[Repository], repository_factory: Factory) -> None:
        """Closing one client doesn't disturb the others."""
        one = record()
        async with repository_factory() as another:
            await insert(another, [one])
        expected = [one] if self.capabilities.shared else [None]
        for client in clients:
            assert await stored(client, [one]) == expected

    async def test_the_first_client_closes_first(self, repository_factory: Factory) -> None:
        """The client that opened first, and set up the storage, may close first: the others keep working, new ones
        come, and its leases last until they expire, neither shorter nor longer.
        """
        if not self.capabilities.shared:
            self.leaves_out("several clients: the storage is not shared")
            return
        records = numbered(3)
        async with AsyncExitStack() as stack:
            async with repository_factory() as opener:
                second = await stack.enter_async_context(repository_factory())
                await insert(opener, records)
                taken = await self.take(opener, want(TASK), expect=3)
            async with repository_factory() as third:
                for client in (second, third):
                    assert await stored(client, taken) == taken
                    await self.take(client, want(TASK), now=NOW + MINUTE - 1, expect=0)
                one = record(name="another")
                await insert(second, [one])
                assert await stored(third, [one]) == [one]
            again = want(TASK, locked_until=NOW + 2 * MINUTE)
            await self.take(second, again, now=NOW + MINUTE, expect=4)

    async def test_opening_cancelled_again_and_again(self, repository_factory: Factory) -> None:
        """400 times (8 if ``quick``), at one point after another: it leaves nothing behind that keeps the next opening
        from succeeding.
        """

        async def open_and_close() -> None:
            async with repository_factory():
                pass

        most = 1
        for number in range(self.sized(400, quick=8)):
            if not await cancelled_at(number % most + 1, open_and_close):
                most = max(number % most, 1)
            elif number % most + 1 == most:
                most += 1
        async with repository_factory() as repository:
            await insert(repository, [record()])

    async def test_clock(self, clients: list[Repository]) -> None:
        """The server's time in microseconds, right within 10 seconds, and advancing, for each client and each call; or
        None if there is no clock.
        """
        if not self.capabilities.server_clock:
            assert [await client.clock() for client in clients] == [None] * len(clients)
            self.leaves_out("the clock: the store has none (server_clock)")
            return
        asked = time.monotonic()
        begin, started = [await _time(client) for client in clients], time.monotonic()
        assert max(abs(now - time.time_ns() // 1000) for now in begin) < 10 * SECOND
        await anyio.sleep(0.1)
        passed = int((time.monotonic() - started) * SECOND)
        end = [await _time(client) for client in clients]
        at_most = int((time.monotonic() - asked) * SECOND)
        for first, last in zip(begin, end, strict=True):
            assert passed - SECOND // 20 <= last - first <= at_most + SECOND // 2  # a clock with whole seconds jumps
        later = [await _time(client) for client in clients]
        assert all(this <= that for this, that in zip(end, later, strict=True))


async def _time(client: Repository) -> int:
    now = await client.clock()
    assert now is not None
    return now
