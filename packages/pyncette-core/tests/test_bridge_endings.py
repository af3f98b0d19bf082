"""How calls and repositories end across the bridge: cancelled, hung, crashed."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio
import anyio.to_thread
import pytest
import trio

from pyncette import bridge
from pyncette.bridge import asyncio_only
from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.memory import MemoryRepository
from pyncette.record import Record, Ref
from pyncette.repository import Repository


class DriverError(Exception):
    """The error that the driver raises in these tests."""


class ScriptedRepository(MemoryRepository):
    """Lets tests replace ``read``; ``started`` and ``ended`` show its progress."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.started = threading.Event()
        self.script: Callable[[], object] = asyncio.Event().wait

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        self.log.append("begin")
        self.started.set()
        try:
            answer = self.script()
            if asyncio.iscoroutine(answer):
                await answer
        finally:
            self.log.append("end")
        return [None]


@pytest.fixture
def repository() -> ScriptedRepository:
    return ScriptedRepository()


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "CANCEL_GRACE", 0.1)
    monkeypatch.setattr(bridge, "CLOSE_TIMEOUT", 0.2)


@pytest.fixture(autouse=True)
def no_thread_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Except in tests that abandon one on purpose; it ends a little later."""
    yield
    for thread in threading.enumerate():
        if thread.name == "pyncette-repository":
            assert "short_timeouts" in request.fixturenames
            thread.join(10)
            assert not thread.is_alive()


def opener(repository: ScriptedRepository) -> AbstractAsyncContextManager[Repository]:
    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        try:
            yield repository
        except BaseException as error:
            repository.log.append(type(error).__name__)
            raise
        finally:
            await asyncio.sleep(0)
            repository.log.append("closed")

    return factory()


async def cancel_when_started(repository: ScriptedRepository, scope: anyio.CancelScope) -> None:
    await anyio.to_thread.run_sync(repository.started.wait)
    scope.cancel()


async def cancelled_read(repository: ScriptedRepository, bridged: Repository) -> tuple[bool, list[Record | None]]:
    """Cancel a read once it has begun. Returns whether it ended as cancelled, and its result, if any."""
    result: list[Record | None] = []
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_when_started, repository, scope)
            result = await bridged.read([])
    return scope.cancelled_caught, result


# A cancelled call


async def test_the_driver_is_cancelled_and_waited_for(repository: ScriptedRepository) -> None:
    async def slow_to_clean_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            repository.log.append("clean")

    repository.script = slow_to_clean_up
    async with opener(repository) as bridged:
        assert await cancelled_read(repository, bridged) == (True, [])
        assert repository.log == ["begin", "clean", "end"]
        assert await bridged.clock() is None


async def test_a_driver_that_completes_in_spite_of_cancellation(repository: ScriptedRepository) -> None:
    """The call returns its result, as it would without a bridge."""

    async def complete() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    repository.script = complete
    async with opener(repository) as bridged:
        assert await cancelled_read(repository, bridged) == (False, [None])


async def test_a_driver_that_fails_when_it_is_cancelled(repository: ScriptedRepository) -> None:
    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise DriverError

    repository.script = fail
    async with opener(repository) as bridged:
        with pytest.RaisesGroup(DriverError):
            await cancelled_read(repository, bridged)


async def test_a_driver_that_does_not_end(
    repository: ScriptedRepository, short_timeouts: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is released, other calls work, and closing is slow, but ends."""
    release = threading.Event()

    async def hang() -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    repository.script = hang
    with anyio.fail_after(5):
        async with opener(repository) as bridged:
            assert await cancelled_read(repository, bridged) == (True, [])
            assert await bridged.clock() is None
    assert "has not ended after 0.1 s" in caplog.text
    assert "did not close in time" in caplog.text
    release.set()


async def test_a_caller_that_is_cancelled_before_it_calls(repository: ScriptedRepository) -> None:
    async with opener(repository) as bridged:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await bridged.read([])
        assert scope.cancelled_caught
    assert repository.log == ["closed"]


async def test_a_shielded_call_is_not_cancelled(repository: ScriptedRepository) -> None:
    repository.script = lambda: asyncio.sleep(0.05)
    async with opener(repository) as bridged:
        with anyio.CancelScope() as scope:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                assert await bridged.read([]) == [None]


async def test_a_driver_that_cancels_itself(repository: ScriptedRepository) -> None:
    """Nobody cancelled the caller, so it must not receive asyncio's cancellation."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    repository.script = give_up
    async with opener(repository) as bridged:
        with pytest.raises(RepositoryUnavailableException, match="cancelled by the repository's driver"):
            await bridged.read([])
        assert await bridged.clock() is None


# Opening and closing


async def test_cancelled_while_opening(repository: ScriptedRepository) -> None:
    begun = threading.Event()

    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        try:
            begun.set()
            await asyncio.Event().wait()
            yield repository
        finally:
            await asyncio.sleep(0.05)
            repository.log.append("cleaned up")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(factory().__aenter__)
        await anyio.to_thread.run_sync(begun.wait)
        tasks.cancel_scope.cancel()
    assert repository.log == ["cleaned up"]


async def test_an_opening_that_hangs(
    repository: ScriptedRepository, short_timeouts: None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is given up. If it succeeds later, the repository is closed immediately."""
    release = threading.Event()

    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        yield repository
        repository.log.append("closed")

    with anyio.fail_after(5), anyio.move_on_after(0.1):
        async with factory():
            pytest.fail("it did not open")
    assert "did not close in time" in caplog.text
    release.set()
    for thread in threading.enumerate():
        if thread.name == "pyncette-repository":
            await anyio.to_thread.run_sync(thread.join)
    assert repository.log == ["closed"]


async def test_a_cancelled_body_closes_the_repository(repository: ScriptedRepository) -> None:
    """The factory gets asyncio's ``CancelledError``, and is not cancelled while it closes."""
    with anyio.CancelScope() as scope:
        async with opener(repository):
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert repository.log == ["CancelledError", "closed"]


async def test_a_closing_that_hangs(
    repository: ScriptedRepository, short_timeouts: None, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        yield repository
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    with anyio.fail_after(5):
        async with factory():
            pass
    assert "did not close in time" in caplog.text
    release.set()


async def test_a_closing_that_only_a_cancellation_ends(repository: ScriptedRepository, short_timeouts: None) -> None:
    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        yield repository
        try:
            await asyncio.Event().wait()
        finally:
            repository.log.append("cancelled")

    with anyio.fail_after(5):
        async with factory():
            pass
    assert repository.log == ["cancelled"]


async def test_closing_while_calls_are_in_flight(repository: ScriptedRepository) -> None:
    async with anyio.create_task_group() as tasks:
        async with opener(repository) as bridged:
            tasks.start_soon(failing_read, bridged)
            await anyio.to_thread.run_sync(repository.started.wait)
    assert repository.log == ["begin", "end", "closed"]


async def failing_read(bridged: Repository) -> None:
    with pytest.raises(RepositoryUnavailableException, match="the repository was closed"):
        await bridged.read([])


# The loop on the other side crashes


async def test_a_call_that_ends_the_process(repository: ScriptedRepository) -> None:
    """SystemExit passes through asyncio: its loop ends, and so must the app."""
    repository.script = lambda: sys.exit(3)
    with pytest.raises(SystemExit) as caught:
        async with opener(repository) as bridged:
            await bridged.read([])
    assert caught.value.code == 3


async def test_a_crash_of_the_loop_is_an_error_not_a_hang(repository: ScriptedRepository) -> None:
    """Something in the background ends the loop while one call is in flight and others arrive."""

    def crash() -> None:
        raise SystemExit("of a background task")

    async def use() -> None:
        async with anyio.create_task_group() as tasks, opener(repository) as bridged:
            tasks.start_soon(interrupted_read, bridged)
            await anyio.to_thread.run_sync(repository.started.wait)
            repository.script = lambda: asyncio.get_running_loop().call_soon(crash)
            for _ in range(10):
                tasks.start_soon(refused_in_the_end, bridged)
            with suppress(RepositoryException):
                await bridged.read([])
            with pytest.raises(RepositoryException, match=r"is closed|has ended: SystemExit"):
                await bridged.clock()

    with anyio.fail_after(5), pytest.RaisesGroup(SystemExit):
        await use()
    assert repository.log[-1] == "closed"


async def interrupted_read(bridged: Repository) -> None:
    with pytest.raises(RepositoryUnavailableException):
        await bridged.read([])


async def refused_in_the_end(bridged: Repository) -> None:
    async def forever() -> None:
        while True:
            await bridged.clock()

    with pytest.raises(RepositoryException):
        await forever()


async def test_a_crash_while_crashing(repository: ScriptedRepository) -> None:
    """The loop can't even end its calls and close the repository."""

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise SystemExit("once more")

    def crash() -> None:
        raise SystemExit("of a background task")

    async def use() -> None:
        async with anyio.create_task_group() as tasks, opener(repository) as bridged:
            repository.script = stubborn
            tasks.start_soon(interrupted_read, bridged)
            await anyio.to_thread.run_sync(repository.started.wait)
            repository.script = lambda: asyncio.get_running_loop().call_soon(crash)
            await interrupted_read(bridged)

    with anyio.fail_after(5), pytest.RaisesGroup(SystemExit):
        await use()


async def test_a_stopped_loop_is_an_error_not_a_hang(repository: ScriptedRepository) -> None:
    repository.script = lambda: asyncio.get_running_loop().stop()
    with anyio.fail_after(5), suppress(RuntimeError):
        async with opener(repository) as bridged:
            with suppress(RepositoryException):
                await bridged.read([])
            await refused_in_the_end(bridged)


def test_the_event_loop_ends_before_the_repository(repository: ScriptedRepository, short_timeouts: None) -> None:
    """If a program forgets to close the repository, no thread keeps the process alive."""
    manager = opener(repository)
    trio.run(manager.__aenter__)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "pyncette-repository"]
    assert thread.daemon
    manager.manager._post(manager.manager._closing.set)  # type: ignore[attr-defined]  # nobody else could end it now
