"""Options: each is passed to where it belongs, and none is ignored."""

from __future__ import annotations

import datetime
import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Self

import anyio
import pytest

from pyncette import Context, Pyncette
from pyncette.bridge import asyncio_only
from pyncette.executor import DefaultExecutor
from pyncette.memory import MemoryRepository, memory_repository
from pyncette.repository import Repository
from pyncette.testing import ManualClock

SECOND = datetime.timedelta(seconds=1)


class Recorder:
    """A factory that records its options."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def __call__(self, *, shelf_url: str, shelf_size: int = 5) -> AbstractAsyncContextManager[Repository]:
        self.options = {"shelf_url": shelf_url, "shelf_size": shelf_size}
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Repository]:
        yield MemoryRepository()


async def test_options_of_the_repository() -> None:
    factory = Recorder()
    app = Pyncette(repository_factory=factory, shelf_url="here", batch_size=7)
    async with app.create():
        assert factory.options == {"shelf_url": "here", "shelf_size": 5}


def test_an_unknown_option_is_refused_with_the_nearest_and_all_valid_ones() -> None:
    with pytest.raises(TypeError, match=r"Unknown option 'shelf_siz'; did you mean 'shelf_size'\?") as e:
        Pyncette(repository_factory=Recorder(), shelf_url="here", shelf_siz=3)
    for name in ("shelf_url", "shelf_size", "batch_size", "concurrency_limit", "drain_timeout", "poll_interval"):
        assert name in str(e.value)


def test_an_option_of_another_backend_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Unknown option 'redis_url'.*repository_factory=redis_repository"):
        Pyncette(redis_url="redis://localhost")


def test_a_misspelt_setting() -> None:
    with pytest.raises(TypeError, match="did you mean 'poll_interval'"):
        Pyncette(pol_interval=SECOND)


def test_a_required_option() -> None:
    with pytest.raises(TypeError, match="needs the option 'shelf_url'"):
        Pyncette(repository_factory=Recorder())


@pytest.mark.parametrize(
    "options, says",
    [
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"concurrency_limit": 0}, "concurrency_limit must be a whole number"),
        ({"poll_interval": datetime.timedelta()}, "poll_interval must be positive"),
        ({"drain_timeout": -SECOND}, "drain_timeout must be positive"),
        ({"batch_size": 10**400}, "batch_size must be a whole number of at most 1,000,000, not 1000"),
        ({"concurrency_limit": 10**5_000}, "concurrency_limit must be a whole number of at most 1,000,000, not an obj"),
        ({"poll_interval": datetime.timedelta.max}, "poll_interval must be at most 1,000 years"),
        ({"drain_timeout": datetime.timedelta.max}, "drain_timeout must be at most 1,000 years"),
    ],
)
def test_impossible_values(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Pyncette(**options)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"concurrency_limit": True}, "concurrency_limit must be a whole number"),
        ({"poll_interval": 1}, "poll_interval must be a timedelta"),
        ({"poll_interval": 10**5_000}, "poll_interval must be a timedelta, not an object of type int: write"),
        ({"clock": 5}, "clock must be"),
        ({"executor_cls": DefaultExecutor()}, "executor_cls must be a class such as pyncette.executor.DefaultExecutor"),
    ],
)
def test_values_of_a_wrong_type(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Pyncette(**options)


class Custom:
    """An executor with an option of its own."""

    made: dict[str, Any]

    def __init__(self, colour: str, concurrency_limit: int = 3) -> None:
        type(self).made = {"colour": colour, "concurrency_limit": concurrency_limit}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def spawn_task(self, task: Any) -> None:
        await task


async def test_options_of_the_executor() -> None:
    app = Pyncette(executor_cls=Custom, colour="red", concurrency_limit=9)
    async with app.create() as context:
        context.shutdown()
        await context.run()
    assert Custom.made == {"colour": "red", "concurrency_limit": 9}


def test_an_option_of_the_executor_that_is_missing() -> None:
    with pytest.raises(TypeError, match="needs the option 'colour'"):
        Pyncette(executor_cls=Custom)


async def test_a_factory_that_takes_anything() -> None:
    seen: dict[str, Any] = {}

    @asynccontextmanager
    async def anything(**options: Any) -> AsyncIterator[Repository]:
        seen.update(options)
        yield MemoryRepository()

    async with Pyncette(repository_factory=anything, some_thing=1).create():
        assert seen == {"some_thing": 1}


async def test_an_executor_that_takes_anything() -> None:
    made: dict[str, Any] = {}

    class Anything(DefaultExecutor):
        def __init__(self, **options: Any) -> None:
            made.update(options)
            super().__init__(options["concurrency_limit"])

    app = Pyncette(repository_factory=Recorder(), executor_cls=Anything, shelf_url="here", concurrency_limit=3, tint=1)
    async with app.create() as context:
        context.shutdown()
        await context.run()
    assert made == {"concurrency_limit": 3, "tint": 1}


async def test_options_bound_to_the_factory() -> None:
    """The form that type checkers can check."""
    factory = Recorder()
    async with Pyncette(functools.partial(factory, shelf_url="here")).create():
        assert factory.options == {"shelf_url": "here", "shelf_size": 5}
    with pytest.raises(TypeError, match="needs the option 'shelf_url'"):
        Pyncette(functools.partial(factory, shelf_size=3))


class TestOverriding:
    """Tests of an app as it is declared."""

    @pytest.fixture
    def declared(self) -> Recorder:
        return Recorder()

    @pytest.fixture
    def app(self, declared: Recorder) -> Pyncette:
        return Pyncette(
            repository_factory=declared, shelf_url="live", executor_cls=Custom, colour="red", concurrency_limit=9
        )

    async def test_the_clock(self, app: Pyncette) -> None:
        clock = ManualClock()
        async with app.create(clock=clock) as context:
            assert context.clock is clock
        async with app.create() as context:
            assert context.clock is not clock

    async def test_the_loop(self, app: Pyncette) -> None:
        async with app.create(poll_interval=SECOND * 7, concurrency_limit=2, executor_cls=None) as context:
            assert context.poll_interval == SECOND * 7
            context.shutdown()
            await context.run()
        assert Custom.made == {"colour": "red", "concurrency_limit": 2}

    async def test_one_option(self, app: Pyncette, declared: Recorder) -> None:
        async with app.create(shelf_url="test"):
            assert declared.options == {"shelf_url": "test", "shelf_size": 5}
        async with app.create():
            assert declared.options == {"shelf_url": "live", "shelf_size": 5}

    async def test_another_repository_leaves_the_options_of_the_first_out(self, app: Pyncette) -> None:
        async with app.create(repository_factory=memory_repository) as context:
            context.shutdown()
            await context.run()
        assert Custom.made == {"colour": "red", "concurrency_limit": 9}

    async def test_another_repository_of_the_same_kind_keeps_them(self, app: Pyncette, declared: Recorder) -> None:
        other = Recorder()
        async with app.create(repository_factory=other):
            assert other.options == {"shelf_url": "live", "shelf_size": 5}
        assert declared.options == {}

    async def test_another_executor(self, app: Pyncette, declared: Recorder) -> None:
        async with app.create(executor_cls=DefaultExecutor):
            assert declared.options == {"shelf_url": "live", "shelf_size": 5}

    def test_mistakes(self, app: Pyncette) -> None:
        with pytest.raises(TypeError, match=r"Unknown option 'clok'; did you mean 'clock'\?"):
            app.create(clok=ManualClock())
        with pytest.raises(TypeError, match="Unknown option 'shelf_url'"):
            app.create(repository_factory=memory_repository, shelf_url="x")
        with pytest.raises(ValueError, match="poll_interval must be positive"):
            app.create(poll_interval=-SECOND)
        with pytest.raises(TypeError, match="batch_size must be a whole number"):
            app.create(batch_size=1.5)  # type: ignore[arg-type]  # the mistake under test

    def test_a_context_that_is_not_opened(self, app: Pyncette) -> None:
        for name in ("run", "schedule_task", "shutdown"):
            with pytest.raises(AttributeError, match=rf"async with app.create\(\) as context: context.{name}"):
                getattr(app.create(), name)
        with pytest.raises(AttributeError, match=r"app.create\(\) has no 'nonsense'"):
            _ = app.create().nonsense  # type: ignore[attr-defined]  # the mistake under test


async def test_a_factory_and_an_executor_that_both_take_anything() -> None:
    """In 1.1.0, executors, like repositories, accepted all options as ``**kwargs`` and picked their own."""
    seen: dict[str, Any] = {}

    @asynccontextmanager
    async def anything(**options: Any) -> AsyncIterator[Repository]:
        seen["repository"] = options
        yield MemoryRepository()

    class Picky(DefaultExecutor):
        def __init__(self, **options: Any) -> None:
            seen["executor"] = options
            super().__init__(options["concurrency_limit"])

    app = Pyncette(repository_factory=anything, executor_cls=Picky, concurrency_limit=1, tint="red", sqlite_x=2)
    async with app.create() as context:
        context.shutdown()
        await context.run()
    assert seen == {"repository": {"tint": "red", "sqlite_x": 2}, "executor": {"tint": "red", "concurrency_limit": 1}}


@pytest.mark.parametrize("limit", [1, 3])
async def test_the_limit_holds_in_an_executor_that_passes_its_options_on(limit: int) -> None:
    class Labelled(DefaultExecutor):
        def __init__(self, label: str, **options: Any) -> None:
            self.label = label
            super().__init__(**options)

    clock, running, most = ManualClock(), 0, 0
    app = Pyncette(executor_cls=Labelled, label="red", concurrency_limit=limit, clock=clock)

    async def work(context: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await clock.sleep(0.1)
        running -= 1

    for name in "abcde":
        app.task(name=name, interval=SECOND)(work)
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(3 * SECOND)
        context.shutdown()
        await clock.advance(SECOND)
    assert most == limit


def test_a_backend_checks_its_options_when_the_app_is_made() -> None:
    """It is not opened for that. A wrapper is not called, because it might do anything."""
    calls: list[int] = []

    @asyncio_only
    def factory(*, size: int = 1) -> AbstractAsyncContextManager[Repository]:
        calls.append(size)
        if size > 9:
            raise ValueError("size must be at most 9.")
        return memory_repository()

    @functools.wraps(factory)
    def wrapper(*, size: int = 1) -> AbstractAsyncContextManager[Repository]:
        return factory(size=size)

    with pytest.raises(ValueError, match="size must be at most 9"):
        Pyncette(factory, size=10)
    with pytest.raises(ValueError, match="size must be at most 9"):
        Pyncette(functools.partial(factory, size=10))
    with pytest.raises(ValueError, match="size must be at most 9"):
        Pyncette(factory, size=5).create(size=11)
    assert calls == [10, 10, 5, 11]
    Pyncette(wrapper, size=10)
    assert len(calls) == 4
