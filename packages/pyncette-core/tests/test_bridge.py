"""The bridge that runs asyncio-only repositories on trio."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio
import pytest
import sniffio
import trio

from pyncette import bridge
from pyncette.bridge import asyncio_only
from pyncette.errors import RepositoryException
from pyncette.memory import MemoryRepository
from pyncette.record import Change, Count, Look, Queue, QueueClaim, Record, Ref, RunQuestion, Swap
from pyncette.repository import Repository

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


CLAIM = QueueClaim(Queue("queue"), 1, 9)


def record(key: str = "queue:key", revision: str = "1") -> Record:
    return Record("queue", key, 1, 1, None, None, revision, 0, 0, "{}")


class DriverError(Exception):
    """The error that the driver raises in these tests."""


class AsyncioRepository(MemoryRepository):
    """Keeps records in memory, awaits asyncio primitives, and lets tests replace ``read``."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.on_read: Callable[[], object] = lambda: None

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        await asyncio.sleep(0)
        answer = self.on_read()
        if inspect.isawaitable(answer):
            await answer
        return await super().read(refs)

    async def clock(self) -> int | None:
        """The id of the thread that it runs in."""
        assert asyncio.current_task() is not None
        return threading.get_ident()


def opener(repository: AsyncioRepository) -> Callable[[], AbstractAsyncContextManager[Repository]]:
    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        loop = asyncio.get_running_loop()
        repository.log.append("open")
        try:
            yield repository
        except BaseException as error:
            repository.log.append(type(error).__name__)
            raise
        finally:
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop
            repository.log.append("close")

    return factory


@pytest.fixture
def repository() -> AsyncioRepository:
    return AsyncioRepository()


@pytest.fixture
def anyio_backend() -> str:
    """Trio, except for tests that say otherwise: on asyncio, there is no bridge."""
    return "trio"


both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "pyncette-repository"]


# What users of a factory see


@both
async def test_every_method_reaches_the_repository(repository: AsyncioRepository, anyio_backend_name: str) -> None:
    one = record()
    async with opener(repository)() as bridged:
        assert await bridged.swap([Change(None, one)]) == [Swap.APPLIED]
        assert await bridged.read([one.ref]) == [one]
        assert await bridged.scan_ready(CLAIM.queue, limit=1) == [one]
        assert await bridged.scan(CLAIM.queue, after=None, limit=1) == [one]
        assert await bridged.look([CLAIM.queue], [one.ref]) == Look(1, [one], None)
        assert await bridged.queues(after=None, limit=5) == [one.queue]
        assert await bridged.count(CLAIM.queue) == Count(1, exact=True)
        assert bridged.keeps_runs
        assert await bridged.diagnose() == []
        assert await bridged.runs(RunQuestion(limit=5)) == []
        (taken,) = await bridged.claim([CLAIM], now=1, limit=1, token="t", holder="h")
        assert taken == one
        assert (await bridged.clock() == threading.get_ident()) is (anyio_backend_name == "asyncio")
    assert repository.log == ["open", "close"]


def test_nothing_of_the_interface_is_left_out() -> None:
    """All public methods are coroutine functions, and the bridge forwards each of them, except ``within``: on trio,
    nobody has a connection of asyncio. If this fails because the interface has something new, extend the bridge."""
    public = {name for name in dir(Repository) if not name.startswith("_")} - {"keeps_runs", "within"}
    assert public == set(bridge._METHODS)
    assert all(name in vars(bridge._BridgedRepository) for name in public)


def test_the_factory_keeps_its_name_and_docstring() -> None:
    @asyncio_only
    @asynccontextmanager
    async def some_repository(*, url: str, size: int = 3) -> AsyncIterator[Repository]:
        """Its docstring."""
        yield AsyncioRepository()

    assert some_repository.__name__ == "some_repository"
    assert some_repository.__doc__ == "Its docstring."
    assert str(inspect.signature(some_repository)) == "(*, url: 'str', size: 'int' = 3) -> 'AsyncIterator[Repository]'"
    with pytest.raises(TypeError, match="url"):
        some_repository()  # type: ignore[call-arg]  # that is the test
    some_repository(url="never opened")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_on_asyncio_the_repository_is_the_factorys_own(repository: AsyncioRepository) -> None:
    async with opener(repository)() as opened:
        assert opened is repository


async def test_context_variables_are_visible(repository: AsyncioRepository) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.append(variable.get())
        variable.set("of the repository")

    repository.on_read = look
    variable.set("of the opener")
    async with opener(repository)() as bridged:
        await bridged.read([])
        variable.set("of the caller")
        await bridged.read([])
    assert seen == ["of the opener", "of the caller"]
    assert variable.get() == "of the caller"


@pytest.mark.parametrize("run", [trio.run, lambda main: anyio.run(main, backend="trio")])
def test_the_other_side_is_asyncio_for_every_library(
    repository: AsyncioRepository, run: Callable[[Callable[[], object]], object]
) -> None:
    async def on_read() -> None:
        assert sniffio.current_async_library() == "asyncio"
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asyncio.sleep, 0)

    async def main() -> None:
        async with opener(repository)() as bridged:
            await bridged.read([])
            assert sniffio.current_async_library() == "trio"

    repository.on_read = on_read
    run(main)


async def test_many_calls_at_once(repository: AsyncioRepository) -> None:
    records = [record(f"queue:{number}") for number in range(200)]
    meet = asyncio.Barrier(200)  # no call returns before all have arrived
    repository.on_read = meet.wait
    async with opener(repository)() as bridged:
        assert await bridged.swap([Change(None, one) for one in records]) == [Swap.APPLIED] * 200
        async with anyio.create_task_group() as tasks:
            for one in records:
                tasks.start_soon(expect, bridged, one)


async def expect(repository: Repository, one: Record) -> None:
    assert await repository.read([one.ref]) == [one]


# Errors


async def test_errors_are_raised_unwrapped(repository: AsyncioRepository) -> None:
    error = DriverError("of the driver")

    def deep_in_the_driver() -> None:
        raise error from ValueError("the cause")

    repository.on_read = deep_in_the_driver
    async with opener(repository)() as bridged:
        with pytest.raises(DriverError) as caught:
            await bridged.read([])
        assert caught.value is error
        assert isinstance(error.__cause__, ValueError)
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names[0] == "test_errors_are_raised_unwrapped"
        assert names[-1] == "deep_in_the_driver"
        assert await bridged.clock()
    assert repository.log == ["open", "close"]


async def test_errors_are_not_kept(repository: AsyncioRepository) -> None:
    """An error refers to the frames that it passed through. If these referred to the error, everything in them would
    stay alive until the garbage collector runs."""

    class Kept(Exception):
        pass

    def fail() -> None:
        raise Kept

    repository.on_read = fail
    async with opener(repository)() as bridged:
        gc.disable()
        try:
            with suppress(Kept):
                await bridged.read([])
            await bridged.clock()
            left = [thing for thing in gc.get_objects() if type(thing) is Kept]
        finally:
            gc.enable()
    assert not left


async def test_an_error_while_opening(repository: AsyncioRepository) -> None:
    error = DriverError("no such host")

    async def connect() -> None:
        await asyncio.sleep(0)
        raise error

    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        await connect()
        yield repository

    with pytest.raises(DriverError) as caught:
        async with factory():
            pytest.fail("it did not open")
    assert caught.value is error


async def test_an_error_while_closing(repository: AsyncioRepository) -> None:
    error = DriverError("did not close")

    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        yield repository
        raise error

    with pytest.raises(DriverError) as caught:
        async with factory():
            pass
    assert caught.value is error


@both
@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt])
async def test_an_error_of_the_body_reaches_the_factory(
    repository: AsyncioRepository, kind: type[BaseException]
) -> None:
    error = kind()

    async def use() -> None:
        async with opener(repository)():
            raise error

    with pytest.raises(kind) as caught:
        await use()
    assert caught.value is error
    assert repository.log == ["open", kind.__name__, "close"]


@both
async def test_a_factory_may_swallow_or_replace_the_error_of_the_body(repository: AsyncioRepository) -> None:
    @asyncio_only
    @asynccontextmanager
    async def factory() -> AsyncIterator[Repository]:
        with suppress(LookupError):
            try:
                yield repository
            except OSError as error:
                raise DriverError from error

    async def use(error: Exception) -> None:
        async with factory():
            raise error

    await use(LookupError())
    with pytest.raises(DriverError) as caught:
        await use(OSError())
    assert isinstance(caught.value.__cause__, OSError)


async def test_calls_after_the_closing(repository: AsyncioRepository) -> None:
    async with opener(repository)() as bridged:
        pass
    with pytest.raises(RepositoryException, match="is closed"):
        await bridged.read([])
