"""Opening, closing, and the clock."""

from __future__ import annotations

import time

import anyio
import pytest

from pyncette.repository import Repository

from .base import SECOND, ContractBase, Factory, insert, numbered, record, stored

DAY = 86_400 * SECOND


class LifeContract(ContractBase):
    async def test_clients_come_and_go(self, repository_factory: Factory) -> None:
        """A repository can be opened and closed again and again, used or not."""
        for number in range(5):
            async with repository_factory() as repository:
                if number % 2:
                    await insert(repository, [record(name=str(number))])

    async def test_closing_keeps_the_data(self, repository_factory: Factory) -> None:
        """What was acknowledged is there after all clients were closed, where the store is persistent at all."""
        records = numbered(10)
        async with repository_factory() as repository:
            await insert(repository, records)
        async with repository_factory() as repository:
            found = await stored(repository, records)
        assert found == (records if self.capabilities.persistent else [None] * 10)

    async def test_errors_pass_through(self, repository_factory: Factory) -> None:
        """An error of the application closes the repository and stays what it is."""
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
        """Closing one client does not disturb the others."""
        one = record()
        async with repository_factory() as another:
            await insert(another, [one])
        expected = [one] if self.capabilities.shared else [None]
        for client in clients:
            assert await stored(client, [one]) == expected

    async def test_clock(self, repository: Repository) -> None:
        """The server's time in microseconds, which does not stand still; or None, where there is no clock."""
        first = await repository.clock()
        if not self.capabilities.server_clock:
            assert first is None
            return
        assert first is not None
        assert abs(first - time.time_ns() // 1000) < DAY
        with anyio.fail_after(10):
            while True:
                now = await repository.clock()
                assert now is not None
                assert now >= first
                if now > first:
                    break
