"""A store that hangs fails the suite in time, with a message that names the call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from pyncette.memory import MemoryRepository
from pyncette.record import Record, Ref
from pyncette.testing import RepositoryContract
from pyncette.testing.contract.deadline import HangError, within

ROOT = Path(__file__).resolve().parents[2]


class ReadHangs(MemoryRepository):
    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        await anyio.sleep_forever()
        return []


class Impatient(RepositoryContract):
    deadline = 0.2
    deadlock_after = 0.2


async def test_the_message_names_the_call() -> None:
    with pytest.raises(HangError, match=r"RepositoryContract|ReadContract") as caught:
        await Impatient().test_read_of_nothing(ReadHangs())
    assert "test_read_of_nothing did not end within 0.2 s" in str(caught.value)
    assert "ReadHangs.read(), called at reading.py:" in str(caught.value)


async def test_each_call_that_hangs_is_named() -> None:
    """Also calls in separate tasks, while the test itself waits for something else."""

    async def several() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ReadHangs().read, [])
            tasks.start_soon(anyio.sleep_forever)
            await anyio.sleep_forever()

    with pytest.raises(HangError, match=r"(?s)Several did not end .*ReadHangs\.read\(\)") as caught:
        await within(0.1, "Several", several)
    assert "several(), called at" in str(caught.value)


async def test_an_opening_that_hangs() -> None:
    @asynccontextmanager
    async def opens_never() -> Any:
        await anyio.sleep_forever()
        yield

    with pytest.raises(HangError, match=r"opens_never\(\), called at"):
        await Impatient().test_clients_come_and_go(opens_never)


async def test_what_ends_in_time_is_as_it_was() -> None:
    error = LookupError("the test's own")

    async def fails() -> None:
        raise error

    async def skips() -> None:
        pytest.skip("not here")

    async def raises_nothing() -> None:
        with pytest.raises(LookupError):
            pass

    async def gives() -> int:
        return 5

    with pytest.raises(LookupError) as caught:
        await within(5, "It", fails)
    assert caught.value is error
    with pytest.raises(pytest.skip.Exception):
        await within(5, "It", skips)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await within(5, "It", raises_nothing)
    assert await within(5, "It", gives) == 5


async def test_a_cancelled_test_is_cancelled() -> None:
    with anyio.move_on_after(0.05) as scope:
        await within(60, "It", anyio.sleep_forever)
    assert scope.cancelled_caught


BLOCKING = """
import time
from contextlib import asynccontextmanager, nullcontext

import anyio
import pytest

from pyncette.memory import MemoryRepository
from pyncette.testing import RepositoryContract

class Store(MemoryRepository):
    async def read(self, refs):
        time.sleep(60)

    async def queues(self, *, after, limit):
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()

class Opens(Store):
    pass

class TestStore(RepositoryContract):
    deadline = 0.2
    grace = 0.3

    @pytest.fixture
    def repository_factory(self):
        return lambda: nullcontext(Store())

class TestOpening(TestStore):
    @pytest.fixture
    def repository_factory(self):
        @asynccontextmanager
        async def never():
            await anyio.sleep_forever()
            yield
        return never
"""


@pytest.mark.parametrize(
    "chosen, named",
    [
        ("TestStore and test_read_of_nothing and asyncio", "in read\n"),
        ("TestStore and test_queues_of_an_empty_storage and asyncio", "Store.queues(), called at listing.py:"),
        ("TestStore and test_queues_of_an_empty_storage and trio", "Store.queues(), called at listing.py:"),
        ("TestOpening and test_read_of_nothing and asyncio", "the opening of a repository"),
    ],
)
def test_what_can_not_be_cancelled_ends_the_process(tmp_path: Path, chosen: str, named: str) -> None:
    (tmp_path / "test_blocking.py").write_text(BLOCKING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "."]
    run = subprocess.run(
        [*command, "test_blocking.py", "-k", chosen],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.INTERNAL_ERROR, run.stdout
    assert "did not end within 0.5 s, though it was cancelled" in run.stderr
    assert named in run.stderr
