"""Runs the contract suite on stores with one fault each."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import pytest
from hypothesis import Phase

from pyncette.memory import MemoryRepository
from pyncette.repository import Repository
from pyncette.testing import RepositoryContract

Store = TypeVar("Store", bound=type[Repository])


@runtime_checkable
class Opening(Protocol):
    """A store that does something when a client opens it."""

    async def open(self) -> None: ...


@runtime_checkable
class Closing(Protocol):
    """A store that does something when a client closes it."""

    async def close(self) -> None: ...


class Broken(RepositoryContract):
    """The suite, on a store that breaks the contract."""

    store: ClassVar[type[Repository]] = MemoryRepository
    caught_by: ClassVar[tuple[str, ...]] = ()
    forgets: ClassVar[bool] = False
    property_examples = 25
    property_phases = (Phase.generate,)
    deadlock_after = 1
    deadline = 4
    grace = 300  # on a busy machine, a test that compares a lot of data may take long
    quick = True

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def repository_factory(self) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        shared = self.store()

        @asynccontextmanager
        async def connect() -> AsyncIterator[Repository]:
            store = self.store() if self.forgets else shared
            if isinstance(store, Opening):
                await store.open()
            yield store
            if isinstance(store, Closing):
                await store.close()

        return connect


def caught_by(*tests: str, **attributes: Any) -> Callable[[Store], Store]:
    """Declares which tests of the suite must fail because of the store's fault.

    :param attributes: attributes of the test class that runs the suite on the store, such as ``capabilities``.
    """

    def join(store: Store) -> Store:
        values: dict[str, Any] = {"store": store, "caught_by": tests, "__module__": store.__module__, **attributes}
        if "test_runs_of_an_empty_log" not in tests:  # only this test requires that a store has no log
            able = values.get("capabilities", Broken.capabilities)
            values["capabilities"] = replace(able, keeps_runs=store.keeps_runs)
        contract = type(f"Test{store.__name__}", (Broken,), values)
        setattr(sys.modules[store.__module__], contract.__name__, contract)
        return store

    return join
