"""Optional parts: namespaces, a server that is down, URLs. Each is tested if its fixture is overridden."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from pyncette.errors import RepositoryUnavailableException
from pyncette.record import LEAST, Change, Ref
from pyncette.repository import Backend, Repository

from .base import (
    APPLIED,
    NOW,
    TASK,
    ContractBase,
    Factory,
    all_of,
    fresh,
    insert,
    next_ready,
    numbered,
    static,
    stored,
    want,
)

SECRET = "s3cret-Pa55w0rd"  # noqa: S105 -- for tests only
"""The password that no message may repeat."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a backend does with URLs.

    :ivar backend: what the entry point names.
    :ivar right: URLs that it understands.
    :ivar wrong: URLs that it refuses; those that can hold a password have :data:`SECRET` there.
    """

    backend: Backend
    right: Sequence[str]
    wrong: Sequence[str]


class PartContract(ContractBase):
    @pytest.fixture
    def neighbour_factory(self) -> Factory | None:
        """Repositories in another namespace of the same store, whose name begins like that of ``repository_factory``;
        None where there are no namespaces."""
        return None

    @pytest.fixture
    def unreachable_factory(self) -> Factory | None:
        """Repositories of a server that is down, with :data:`SECRET` as the password where there is one; None where
        there is no server."""
        return None

    @pytest.fixture
    def addresses(self) -> Addresses | None:
        """None for a backend that has no URL."""
        return None

    async def test_a_neighbour_sees_nothing(self, repository: Repository, neighbour_factory: Factory | None) -> None:
        """Another namespace shows, claims and changes nothing of this one, and the same keys in both are different
        records.
        """
        if neighbour_factory is None:
            self.leaves_out("namespaces: the fixture neighbour_factory gives none")
            return
        records = [*numbered(3), static("static")]
        await insert(repository, records)
        async with neighbour_factory() as neighbour:
            assert await stored(neighbour, records) == [None] * 4
            assert await all_of(neighbour, TASK) == []
            assert await neighbour.queues(after=None, limit=5) == []
            assert await neighbour.scan_ready(TASK, limit=5) == []
            assert (await neighbour.count(TASK, since=LEAST)).value == 0
            assert await next_ready(neighbour, [TASK]) is None
            assert await neighbour.claim(want(TASK), now=NOW, limit=5, token=fresh(), holder=fresh()) == []
            theirs = [replace(one, spec="the neighbour's") for one in records]
            await insert(neighbour, theirs)
            assert await stored(repository, records) == records
            assert await neighbour.swap([Change(one, None) for one in theirs]) == [APPLIED] * 4
        assert await stored(repository, records) == records

    async def test_a_server_that_is_down(self, unreachable_factory: Factory | None) -> None:
        """Opening may fail, or the first call must: as unavailable, with the driver's error as its cause, and without
        the password in any text."""
        if unreachable_factory is None:
            self.leaves_out("a server that is down: the fixture unreachable_factory gives none")
            return

        async def use() -> None:
            async with unreachable_factory() as repository:
                await repository.read([Ref("task", "task:a")])

        with pytest.raises(RepositoryUnavailableException) as caught:
            await use()
        assert caught.value.__cause__ is not None
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    async def test_options_from_urls(self, addresses: Addresses | None) -> None:
        """A URL becomes options of the factory; a wrong one is a ``ValueError`` that doesn't repeat it."""
        if addresses is None:
            self.leaves_out("URLs: the fixture addresses gives none")
            return
        backend = addresses.backend
        for url in addresses.right:
            inspect.signature(backend.factory).bind(**backend.options_from_url(url))
        for url in addresses.wrong:
            with pytest.raises(ValueError) as caught:  # noqa: PT011 -- any message without the secret is fine
                backend.options_from_url(url)
            assert str(caught.value)
            assert SECRET not in str(caught.value)
