"""Outages of DynamoDB: nothing is lost, nothing is left behind, and no restart is needed."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import pytest

from pyncette import Context, Pyncette
from pyncette.dynamodb import connection
from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.record import Change, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import next_ready, ready
from tests.helpers.dynamodb import NOW, TASK, Answer, Cut, Request, Wire, fresh, numbered, record, repository_of, want
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]
StartServer = Callable[..., AbstractContextManager[Server]]

pytestmark = pytest.mark.anyio


def cut(_: Request) -> Answer:
    raise Cut


@contextmanager
def hanging(proxy: Wire, which: str | Callable[[Request], bool]) -> Iterator[None]:
    """Within the block, requests of this operation, or those that the function selects, get no answer."""
    over = threading.Event()

    def script(request: Request) -> Answer | None:
        if request.operation == which if isinstance(which, str) else which(request):
            over.wait(30)
        return None

    proxy.script = script
    try:
        yield
    finally:
        proxy.script = None
        over.set()


class TestApp:
    async def test_an_outage_under_load(self, watched: Factory, proxy: Wire) -> None:
        """Requests and answers are lost repeatedly. Still, each occurrence is executed and settled."""
        count = 300
        app = Pyncette(repository_factory=watched, poll_interval=timedelta(seconds=0.1), concurrency_limit=20)
        executed: Counter[str] = Counter()
        chance, all_executed = random.Random(0), anyio.Event()

        @app.dynamic_task(lease_duration=timedelta(seconds=3))
        async def task(context: Context) -> None:
            executed[context.task.name] += 1
            if len(executed) == count:
                all_executed.set()

        def now_and_then(request: Request) -> Answer | None:
            """Every fourth request is lost, half of them after DynamoDB has executed them."""
            dice = chance.random()
            if dice < 0.125:
                raise Cut
            if dice < 0.25:
                request.forward(proxy.server)
                raise Cut
            return None

        overdue = datetime.now(UTC) - timedelta(minutes=1)
        async with app.create() as context:
            await context.schedule_tasks(task, ((f"{n}", {"execute_at": overdue}) for n in range(count)))
            proxy.script = now_and_then
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(context.run)
                with anyio.fail_after(60):
                    await all_executed.wait()
                proxy.script = cut
                await anyio.sleep(0.5)
                proxy.script = None
                context.shutdown()
            assert (await context.list_tasks(task)).tasks == [], "all are settled when it ends"

    async def test_it_works_again_by_itself(self, watched: Factory, proxy: Wire) -> None:
        async with watched() as repository:
            one = record("a")
            assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
            proxy.script = cut
            for call in (
                lambda: repository.read([one.ref]),
                lambda: repository.scan(TASK, after=None, limit=1),
                lambda: next_ready(repository, [TASK]),
                lambda: ready(repository, want(TASK), now=NOW, limit=1),
                lambda: repository.claim(want(TASK), now=NOW, limit=1, token=fresh(), holder=fresh()),
            ):
                with pytest.raises(RepositoryUnavailableException, match="can't be reached") as caught:
                    await call()
                assert caught.value.__cause__ is not None
            proxy.script = None
            assert await repository.read([one.ref]) == [one]


class TestHanging:
    @pytest.mark.parametrize("operation", ["DescribeTable", "BatchExecuteStatement", "Query"])
    async def test_no_answer(
        self, direct: Factory, watched: Factory, proxy: Wire, operation: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Calls fail after the time limit, at the start and later."""
        monkeypatch.setattr(connection, "READ_TIMEOUT", 0.3)
        async with direct():
            pass  # creates the table

        async def use() -> None:
            async with watched() as repository:
                await next_ready(repository, [TASK])
                await repository.swap([Change(None, record("a"))])

        with hanging(proxy, operation):
            started = time.monotonic()
            with pytest.raises(RepositoryUnavailableException, match="Read timeout"):
                await use()
            assert time.monotonic() - started < 5

    async def test_a_partly_completed_call_is_cancelled(self, watched: Factory, proxy: Wire) -> None:
        """One of its requests hangs, the others are answered: the caller's deadline ends the call without damage."""

        def first_place(request: Request) -> bool:
            return ":0:task" in str(request.body)

        async with watched() as repository:
            await repository.swap([Change(None, one) for one in numbered(100)])
            for call in (
                partial(next_ready, repository, [TASK]),
                partial(repository.claim, want(TASK), now=NOW, limit=1, token=fresh(), holder=fresh()),
            ):
                with hanging(proxy, first_place), anyio.move_on_after(0.3) as scope:
                    await call()
                assert scope.cancelled_caught
            assert await next_ready(repository, [TASK]) == NOW - 99

    async def test_a_cancelled_call_leaves_nothing_behind(self, watched: Factory, proxy: Wire) -> None:
        """More calls than connections are cancelled while they wait; then as many succeed."""
        crowd = 2 * connection.CONNECTIONS
        async with watched() as repository:
            records = numbered(crowd)
            before = {task for task in asyncio.all_tasks() if not task.done()}
            with hanging(proxy, "BatchExecuteStatement"):
                with anyio.move_on_after(0.5):
                    async with anyio.create_task_group() as tasks:
                        for one in records:
                            tasks.start_soon(repository.swap, [Change(None, one)])
                assert {task for task in asyncio.all_tasks() if not task.done()} <= before
            outcomes: list[Swap] = []

            async def rewrite(number: int) -> None:
                (stored,) = await repository.read([records[number].ref])
                outcomes.extend(await repository.swap([Change(stored, record(f"{number:05}"))]))

            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    for number in range(crowd):
                        tasks.start_soon(rewrite, number)
            assert outcomes == [Swap.APPLIED] * crowd

    async def test_closing_during_calls(self, watched: Factory, proxy: Wire) -> None:
        """When the app is cancelled, all connections are closed, without a warning about any that are left."""
        with anyio.fail_after(20), anyio.CancelScope() as scope:
            async with watched() as repository:
                with hanging(proxy, "BatchExecuteStatement"):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(repository.swap, [Change(None, record("a"))])
                        await anyio.sleep(0.2)
                        scope.cancel()
        gc.collect()  # an open connection would warn, and warnings are errors


class TestServer:
    """On a separate server, which loses its data when it stops."""

    async def test_it_is_stopped_and_comes_back_empty(self, start_server: StartServer) -> None:
        with start_server("dynamodb") as server:
            factory = repository_of(server.endpoint, "tasks")
            async with factory() as repository:
                one = record("a")
                assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
                await asyncio.to_thread(server.stop, kill=True)
                with pytest.raises(RepositoryUnavailableException, match="can't be reached"):
                    await repository.swap([Change(one, None)])
                with pytest.raises(RepositoryUnavailableException, match="can't be reached"):
                    async with factory():
                        pass
                await asyncio.to_thread(server.start)
                with pytest.raises(RepositoryException, match="it is gone"):
                    await repository.read([one.ref])
                async with factory():
                    assert await repository.read([one.ref]) == [None]
                    assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]


async def test_opening_is_cancelled_while_it_takes_the_lock(watched: Factory, direct: Factory, proxy: Wire) -> None:
    """It does not learn that it has the lock, but still releases it, so the next one need not wait for its expiry."""
    loop, over, scope = asyncio.get_running_loop(), threading.Event(), anyio.CancelScope()

    def script(request: Request) -> Answer | None:
        if request.operation != "BatchExecuteStatement":
            return None
        proxy.script = None
        request.forward(proxy.server)
        loop.call_soon_threadsafe(scope.cancel)
        over.wait(60)
        raise Cut

    proxy.script = script
    with scope:
        async with watched():
            pass
    over.set()
    assert scope.cancelled_caught
    with anyio.fail_after(30):
        async with direct():
            pass
