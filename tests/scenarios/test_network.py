"""Network faults between an app and each kind of storage: no lease is lost, and nothing hangs."""

from __future__ import annotations

import datetime
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from pyncette import Context, Pyncette, PyncetteContext, Task
from pyncette._leases import store as store_module
from pyncette.events import OperationFinished, OperationStarted
from pyncette.observer import Observer
from pyncette.utils import with_heartbeat
from tests.helpers.network import Network
from tests.servers.model import Server

KINDS = ["redis", "postgres", "mysql", "dynamodb"]
STEP = 0.2
"""The polling interval of the tests in seconds."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on one kind of storage on asyncio, and on another on trio, where a bridge runs the asyncio drivers.

    Each test takes the next two kinds; with --thorough, all kinds run on both.
    """
    # DynamoDB has no clock.
    kinds = [kind for kind in KINDS if kind != "dynamodb" or "clock" not in metafunc.function.__name__]
    if metafunc.config.option.thorough:
        found = [(loop, kind) for loop in ("asyncio", "trio") for kind in kinds]
    else:
        tests = [name for name in vars(metafunc.module) if name.startswith("test_")]
        first = tests.index(metafunc.function.__name__) % len(kinds)
        found = [("asyncio", kinds[first]), ("trio", kinds[first - 1])]
    ids = ["-".join(each) for each in found]
    metafunc.parametrize("anyio_backend, server", found, indirect=["server"], ids=ids, scope="function")


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    if request.param == "dynamodb":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    found: Server = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture
def network(server: Server) -> Iterator[Network]:
    """A proxy on a separate event loop in a thread, so that it serves apps on asyncio and on trio."""
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(Network(server.host, server.port)) as network,
    ):
        yield network


MakeApp = Callable[..., Pyncette]


@pytest.fixture
def make_app(server: Server) -> MakeApp:
    """A function that creates apps on one storage, which they reach through a network or directly."""
    name = f"network_{uuid.uuid4().hex[:8]}"

    def make(network: Network | None = None, **options: Any) -> Pyncette:
        port = server.port if network is None else network.port
        base = server.url.replace(f":{server.port}", f":{port}")
        options = {"poll_interval": datetime.timedelta(seconds=STEP), **options}
        if server.kind == "redis":
            return Pyncette(base, redis_namespace=name, **options)
        if server.kind == "postgres":
            return Pyncette(f"{base}?sslmode=disable", postgres_table_name=name, **options)
        if server.kind == "mysql":
            return Pyncette(base, mysql_table_name=name, **options)
        return Pyncette(f"dynamodb://eu-west-1/{name}?endpoint={base}", **options)

    return make


class Runs:
    """Records the executions that have started, and those that have ended."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def lasting(self, seconds: float) -> Callable[[Context], Any]:
        async def last(context: Context) -> None:
            self.begun[context.task.name] += 1
            await anyio.sleep(seconds)
            self.ended[context.task.name] += 1

        return last

    async def begun_all(self, count: int) -> None:
        await until(lambda: len(self.begun) >= count)


async def until(happened: Callable[[], bool]) -> None:
    with anyio.fail_after(120):
        while not happened():  # noqa: ASYNC110 - nothing signals it
            await anyio.sleep(STEP / 10)


async def schedule(context: PyncetteContext, task: Task, count: int) -> None:
    now = datetime.datetime.now(datetime.UTC)
    result = await context.schedule_tasks(task, ((f"{number}", {"execute_at": now}) for number in range(count)))
    assert (result.done, result.refused) == (count, [])


@pytest.mark.parametrize("by_hand", [False, True], ids=["renewed", "with_heartbeat"])
async def test_packets_are_swallowed_for_a_moment(make_app: MakeApp, network: Network, by_hand: bool) -> None:
    """For 1.5 s after half of the lease; connections that were open then never work again. The other worker, whose
    network is intact, must not start any of the executions again."""
    runs, count, lease = Runs(), 20, datetime.timedelta(seconds=8)
    apps = make_app(network), make_app()
    body = runs.lasting(9)
    function = with_heartbeat(0.5)(body) if by_hand else body
    tasks = [app.dynamic_task(name="template", lease_duration=lease, heartbeat=not by_hand)(function) for app in apps]
    async with apps[0].create() as first, apps[1].create() as second, anyio.create_task_group() as group:
        group.start_soon(first.run)
        await schedule(first, tasks[0], count)
        await runs.begun_all(count)
        group.start_soon(second.run)
        await anyio.sleep(3.5)
        network.swallow()
        await anyio.sleep(1.5)
        network.restore()
        await until(lambda: len(runs.ended) == count)
        await anyio.sleep(1)
        first.shutdown()
        second.shutdown()
    assert set(runs.begun.values()) == {1}, runs.begun


async def test_all_idle_connections_are_silent(make_app: MakeApp, network: Network) -> None:
    """Only one call fails: the next one gets a working connection."""
    app, lease = make_app(network), datetime.timedelta(minutes=1)
    template = app.dynamic_task(name="template", lease_duration=lease)(Runs().lasting(0))
    async with app.create() as context:
        await schedule(context, template, 1)
        network.latency = 0.1  # so that each call has a connection to itself
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(context.get_task, template, "0")
        network.latency = 0
        network.swallow()
        network.restore()
        with anyio.move_on_after(1) as scope:
            await context.get_task(template, "0")
        assert scope.cancelled_caught
        with anyio.fail_after(10):
            assert await context.get_task(template, "0") is not None


class SlowClock(Observer):
    """Once requested, delays one reading of the storage's clock by 9 s."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.wanted = False
        self.took = 0.0

    def operation_started(self, event: OperationStarted, /) -> None:
        self._network.latency = 9.0 if self.wanted and event.operation == "clock" else 0.0
        self.wanted = self.wanted and event.operation != "clock"

    def operation_finished(self, event: OperationFinished, /) -> None:
        if event.operation == "clock":
            self.took = max(self.took, event.duration)


async def test_an_answer_of_the_clock_that_takes_long(
    server: Server, make_app: MakeApp, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither delays occurrences nor shortens leases: the app keeps using the earlier readings of the clock."""
    monkeypatch.setattr(store_module, "CLOCK_INTERVAL", 300_000)
    app = make_app(network, **({"redis_timeout": 20} if server.kind == "redis" else {}))
    slow = SlowClock(network)
    app.use_observer(slow)

    @app.task(interval=datetime.timedelta(hours=1))
    async def task(context: Context) -> None: ...

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await until(lambda: context.last_tick is not None)
        slow.wanted = True
        await until(lambda: slow.took >= 9)
        behind = time.time_ns() // 1000 - context.clock.now()
        context.shutdown()
    # All servers run on this machine, so their clocks agree.
    assert -10_000 < behind < 500_000
    assert context.clock.error < 500_000


@pytest.mark.parametrize("drain", [None, 1.0])
async def test_shutting_down_without_a_network(make_app: MakeApp, network: Network, drain: float | None) -> None:
    """Shutting down takes at most ``drain_timeout`` plus 2 s, or 10 s if there is none and nothing is running."""
    runs = Runs()
    options = {} if drain is None else {"drain_timeout": datetime.timedelta(seconds=drain)}
    app = make_app(network, **options)
    template = app.dynamic_task(name="template")(runs.lasting(0.3 if drain is None else 60))
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await schedule(context, template, 10)
        await runs.begun_all(10)
        network.swallow()
        slept = time.monotonic()
        await anyio.sleep(1)
        began = time.monotonic()
        context.shutdown()
    seconds, late = time.monotonic() - began, began - slept - 1
    assert seconds < (10 if drain is None else drain + 2) + 0.5 + 10 * late  # plus what a busy machine needs


async def test_a_claim_that_takes_longer_than_half_of_a_lease(make_app: MakeApp, network: Network) -> None:
    """It is executed."""
    runs = Runs()
    app = make_app(network)
    lease = datetime.timedelta(seconds=2)
    template = app.dynamic_task(name="template", lease_duration=lease)(runs.lasting(0))
    async with app.create() as context, anyio.create_task_group() as group:
        await schedule(context, template, 1)
        network.latency = 1.2
        group.start_soon(context.run)
        await runs.begun_all(1)
        network.latency = 0
        context.shutdown()
