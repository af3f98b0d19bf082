"""The suite accepts every store that keeps the contract, however much it differs from the reference."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import ClassVar

import pytest

from pyncette.repository import Repository
from pyncette.testing import AppContract, Capabilities, RepositoryContract
from pyncette.testing.contract.base import TASK, insert, numbered

from .right import SMALLEST, CarriesOutLater, Lagging, LaggingKeys, LooksTwice, Minimal, Slow, TiesInItsOwnOrder


class Right(RepositoryContract, AppContract):
    store: ClassVar[type[Repository]]
    capabilities = Capabilities(keeps_runs=True)
    property_examples = 10

    @pytest.fixture
    def repository_factory(self) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        shared = self.store()
        return lambda: nullcontext(shared)


class TestLagging(Right):
    store = Lagging
    capabilities = Capabilities(immediate_index=False, index_lag=5, keeps_runs=True)


@pytest.mark.variant
class TestLooksTwice(Right):
    store = LooksTwice


@pytest.mark.variant
class TestLaggingKeys(Right):
    store = LaggingKeys
    capabilities = Capabilities(immediate_index=False, index_lag=5, keeps_runs=True)


@pytest.mark.variant
class TestTiesInItsOwnOrder(Right):
    store = TiesInItsOwnOrder


@pytest.mark.variant
class TestSlow(Right):
    store = Slow


@pytest.mark.variant
class TestMinimal(Right):
    store = Minimal
    capabilities = Capabilities(max_spec_bytes=SMALLEST)


async def test_a_store_that_does_not_say_so() -> None:
    repository, records = Lagging(), numbered(3)
    await insert(repository, records)
    with pytest.raises(AssertionError):
        await RepositoryContract().shows(lambda: repository.scan_ready(TASK, limit=5), records)
    await TestLagging().shows(lambda: repository.scan_ready(TASK, limit=5), records)


@pytest.mark.parametrize(
    "test",
    [
        RepositoryContract.test_cancelled_swap,
        RepositoryContract.test_cancelled_claim,
        RepositoryContract.test_cancelled_writes_leave_the_index_right,
    ],
)
async def test_a_store_that_carries_out_later_what_was_cancelled(
    test: Callable[[RepositoryContract, Repository], Awaitable[None]],
) -> None:
    for seed in range(20):
        await test(RepositoryContract(), CarriesOutLater(seed))
