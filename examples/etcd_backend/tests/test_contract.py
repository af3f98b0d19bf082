"""pyncette-etcd keeps the contracts of Pyncette, on an etcd that runs at ``ETCD_URL``."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points
from typing import ClassVar

import pytest
from pyncette_etcd import backend, etcd_repository

from pyncette.errors import RecordRefusedException, StorageVersionException
from pyncette.record import Change, Record
from pyncette.repository import CONTRACT_VERSION, Repository
from pyncette.testing import SECRET, Addresses, AppContract, Capabilities, RepositoryContract

URL = os.environ.get("ETCD_URL", "http://localhost:2379")

Factory = Callable[[], AbstractAsyncContextManager[Repository]]


@pytest.fixture
def namespace() -> str:
    """Each test has a namespace of its own."""
    return uuid.uuid4().hex


@pytest.fixture
def repository_factory(namespace: str) -> Factory:
    return functools.partial(etcd_repository, etcd_url=URL, etcd_namespace=namespace)


class OnEtcd:
    """What both suites share. ``QUICK`` in the environment leaves out their largest forms."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    quick: ClassVar[bool] = bool(os.environ.get("QUICK"))

    @pytest.fixture
    def repository_factory(self, repository_factory: Factory) -> Factory:
        return repository_factory

    @pytest.fixture
    def neighbour_factory(self, namespace: str) -> Factory:
        return functools.partial(etcd_repository, etcd_url=URL, etcd_namespace=f"{namespace}2")

    @pytest.fixture
    def unreachable_factory(self) -> Factory:
        return functools.partial(etcd_repository, etcd_url="http://127.0.0.1:9")

    @pytest.fixture
    def addresses(self) -> Addresses:
        right = ["etcd://localhost:2379/app", "etcds://localhost"]
        return Addresses(backend, right, [f"etcd://user:{SECRET}@", "etcd:///app"])


class TestRepository(OnEtcd, RepositoryContract):
    pass


class TestApps(OnEtcd, AppContract):
    pass


def record(**fields: str) -> Record:
    return Record("task", "task:a", 0, 0, None, None, uuid.uuid4().hex, 0, 0, **{"spec": "{}", **fields})


def test_the_contract_that_it_was_written_against() -> None:
    assert CONTRACT_VERSION == 1


def test_it_is_found_by_its_scheme() -> None:
    found = {each.name: each.value for each in entry_points(group="pyncette.backends")}
    assert found["etcd"] == found["etcds"] == "pyncette_etcd:backend"


@pytest.mark.parametrize(
    "url, options",
    [
        ("etcd://host:1/app", {"etcd_url": "http://host:1", "etcd_namespace": "app"}),
        ("etcds://host", {"etcd_url": "https://host"}),
    ],
)
def test_urls(url: str, options: dict[str, str]) -> None:
    assert backend.options_from_url(url) == options


@pytest.mark.parametrize("url", ["etcd://", "etcd:///app"])
def test_urls_that_name_no_host(url: str) -> None:
    with pytest.raises(ValueError, match="must name a host"):
        backend.options_from_url(url)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"etcd_url": "localhost:2379"}, "must be the address"),
        ({"etcd_url": "http://user:secret@localhost"}, "must not name a user"),
        ({"etcd_namespace": ""}, "etcd_namespace"),
        ({"etcd_timeout": 0}, "positive"),
    ],
)
async def test_wrong_options(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        async with etcd_repository(**options):  # type: ignore[arg-type] # that is the test
            pass
    assert "secret" not in str(caught.value)


async def test_a_record_that_is_too_large(repository_factory: Factory) -> None:
    async with repository_factory() as repository:
        with pytest.raises(RecordRefusedException, match="1400000"):
            await repository.swap([Change(None, record(spec="x" * 1_400_001))])


async def test_another_format(repository_factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    async with repository_factory():
        pass
    monkeypatch.setattr("pyncette_etcd.FORMAT", b"2")
    with pytest.raises(StorageVersionException, match="holds format 1, this backend reads 2"):
        async with repository_factory():
            pass
