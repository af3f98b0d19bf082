"""The report of a run, as JSON and as text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
from contextlib import nullcontext

import anyio
import pytest

from pyncette.memory import MemoryRepository
from pyncette.testing import Capabilities, RepositoryContract

class Store(MemoryRepository):
    async def read(self, refs):
        await anyio.sleep(0)
        await anyio.sleep(0.01)
        return await super().read(refs)

    async def queues(self, *, after, limit):
        return ["wrong"]

class TestStore(RepositoryContract):
    capabilities = Capabilities(keeps_runs=True)
    quick = True

    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    @pytest.fixture
    def repository_factory(self):
        shared = Store()
        return lambda: nullcontext(shared)

    @pytest.mark.xfail(reason="a store with no memory")
    async def test_read_of_nothing(self, repository):
        await super().test_read_of_nothing(repository)
        raise AssertionError
"""
CHOSEN = "test_read_of or test_queues_of_an_empty or test_clock or test_a_neighbour"


def test_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "test_store.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "."]
    command += ["-p", "pyncette.testing.report", "--contract-report=report.json", "test_store.py", "-k", CHOSEN]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["contract_version"] == 1
    (store,) = document["stores"]
    assert (store["store"], store["event_loop"], store["quick"]) == ("test_store.TestStore", "", True)
    assert store["capabilities"]["keeps_runs"]
    assert store["failed"] == ["test_queues_of_an_empty_storage"]
    assert store["outcomes"] == {"passed": 4, "failed": 1, "expected to fail": 1}
    assert store["left_out"] == {
        "test_a_neighbour_sees_nothing": "namespaces: the fixture neighbour_factory gives none",
        "test_clock": "the clock: the store has none (server_clock)",
    }
    read = store["operations"]["read"]
    assert read["calls"] >= 2
    assert read["seconds"]["worst"] >= read["seconds"]["median"] >= 0.01
    assert read["waits"] == {"median": 2, "worst": 2}
    for said in (
        "test_store.TestStore on one loop: ",
        "failed: test_queues_of",
        "left out: test_clock: the clock",
        "read ",
    ):
        assert said in run.stdout


def test_without_the_option_nothing_is_watched(tmp_path: Path) -> None:
    (tmp_path / "test_store.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "."]
    command += ["-p", "pyncette.testing.report", "test_store.py", "-k", "test_read_of_an_empty"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == pytest.ExitCode.OK, run.stdout + run.stderr
    assert "contract of Pyncette" not in run.stdout
