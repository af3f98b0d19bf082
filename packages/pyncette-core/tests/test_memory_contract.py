from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import pytest

from pyncette.memory import MemoryRepository
from pyncette.repository import Repository
from pyncette.testing import AppContract, Capabilities, RepositoryContract


class TestMemory(RepositoryContract, AppContract):
    """All clients of a storage share one repository."""

    capabilities = Capabilities(keeps_runs=True)
    quick = False

    @pytest.fixture
    def repository_factory(self) -> Callable[[], AbstractAsyncContextManager[Repository]]:
        shared = MemoryRepository()
        return lambda: nullcontext(shared)
