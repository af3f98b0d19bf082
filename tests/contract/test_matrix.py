"""The choice of contract tests by event loop: each test of a store runs on at least one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyncette.testing import AppContract, RepositoryContract
from pyncette.testing.contract.base import contract_tests
from tests.matrix import LOOPS, QUICK, SLOW, is_of_apps, loop_for, runs_on

pytest_plugins = ["pytester"]

Collect = Callable[..., pytest.RunResult]
ROOT = Path(__file__).resolve().parents[2]

OF_APPS = sorted(filter(is_of_apps, contract_tests(AppContract)))
JOINED = """
import pytest
from contextlib import nullcontext
from pyncette.memory import MemoryRepository
from pyncette.testing import AppContract, RepositoryContract

class Joined(RepositoryContract, AppContract):
    @pytest.fixture
    def repository_factory(self):
        shared = MemoryRepository()
        return lambda: nullcontext(shared)
"""
STORES_AND_VARIANTS = """
class TestStore(Joined): pass

@pytest.mark.variant
class TestVariant(Joined): pass
"""
ON_ONE_LOOP = """
class TestStore(Joined):
    @pytest.fixture
    def anyio_backend(self): return 'asyncio'
"""


@pytest.mark.parametrize("test", OF_APPS)
def test_of_the_quick_stores_two_run_a_test_of_apps_one_on_either_loop(test: str) -> None:
    loops = [loop_for(store, test) for store in QUICK if runs_on(store, test)]
    assert sorted(loops) == sorted(LOOPS)


@pytest.mark.parametrize("store", QUICK)
def test_a_quick_store_runs_about_half_of_them_and_half_of_these_on_each_loop(store: str) -> None:
    own = [test for test in OF_APPS if runs_on(store, test)]
    on_trio = [test for test in own if loop_for(store, test) == "trio"]
    assert 0.4 < len(own) / len(OF_APPS) < 0.6
    assert 0.4 < len(on_trio) / len(own) < 0.6


def test_a_slow_store_runs_about_a_quarter_of_them() -> None:
    own = [test for test in OF_APPS if runs_on("TestDynamoDBContract", test)]
    assert 0.2 < len(own) / len(OF_APPS) < 0.3


@pytest.mark.parametrize("store", [*QUICK, *SLOW])
def test_a_store_runs_about_half_of_the_contract_of_repositories_on_each_loop(store: str) -> None:
    tests = contract_tests(RepositoryContract)
    on_trio = [test for test in tests if loop_for(store, test) == "trio"]
    assert 0.4 < len(on_trio) / len(tests) < 0.6


@pytest.mark.parametrize(
    "options, store, variant",
    [((), (1, 1), (1, 0)), (("--thorough",), (2, 2), (2, 2)), (("--narrow",), (1, 0), (1, 0))],
)
def test_how_often_a_test_of_each_contract_runs(
    collect: Collect, options: tuple[str, ...], store: tuple[int, int], variant: tuple[int, int]
) -> None:
    run = str(collect(STORES_AND_VARIANTS, *options).stdout)
    for name, expected in (("TestStore", store), ("TestVariant", variant)):
        of_each = ("test_race_of_deletions_with_new_records", "test_a_week")
        assert tuple(run.count(f"::{name}::{test}[") for test in of_each) == expected


def test_a_store_on_one_loop_is_refused(collect: Collect) -> None:
    assert "on both event loops" in str(collect(ON_ONE_LOOP, "--thorough").stderr)


@pytest.fixture
def collect(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Collect:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))

    def collect(stores: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(JOINED + stores)
        pytester.makeini("[pytest]\nanyio_mode = auto")
        own = ("-p", "tests.matrix", "-p", "no:cacheprovider", "--collect-only", "-q")
        return pytester.runpytest_subprocess(*own, *options)

    return collect
