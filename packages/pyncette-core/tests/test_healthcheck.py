"""The health check's server, queried by a real client on the loopback address."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import itertools
import socket
import threading
import time

import anyio
import anyio.to_thread
import pytest

from pyncette import Context, Pyncette, PyncetteContext, healthcheck
from pyncette.errors import PyncetteException
from pyncette.healthcheck import use_healthcheck_server
from pyncette.memory import memory_repository
from pyncette.testing import FaultPlan, ManualClock, fail
from tests.running import running

SECOND = datetime.timedelta(seconds=1)
LOOPBACK = "127.0.0.1"


@pytest.fixture
def port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        number: int = probe.getsockname()[1]
        return number


def _request(verb: str, port: int) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request(verb, "/anything")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def request(verb: str, port: int) -> tuple[int, bytes]:
    return await anyio.to_thread.run_sync(_request, verb, port)


async def test_healthy_while_it_ticks(port: int) -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    async with app.create() as context:
        assert await request("GET", port) == (500, b"Not OK: the poll loop has not succeeded yet")
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await clock.advance(SECOND)
            assert await request("GET", port) == (200, b"OK")
            context.shutdown()
        await clock.advance(1.9 * SECOND)
        assert await request("GET", port) == (200, b"OK")
        await clock.advance(SECOND)
        assert await request("GET", port) == (500, b"Not OK: the poll loop has not succeeded for 2.9 s")


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
async def test_other_http_methods(port: int, verb: str) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    async with running(app):
        assert (await request(verb, port))[0] == 405


async def test_a_custom_handler(port: int, caplog: pytest.LogCaptureFixture) -> None:
    answers: list[bool | Exception] = [True, False, True, ZeroDivisionError("of a secret")]
    threads: set[int] = set()

    async def handler(context: PyncetteContext) -> bool:
        threads.add(threading.get_ident())
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK, healthcheck_handler=handler)
    async with running(app):
        assert [await request("GET", port) for _ in range(4)] == [
            (200, b"OK"),
            (500, b"Not OK: the handler says so"),
            (200, b"OK"),
            (500, b"Not OK: the check failed with ZeroDivisionError"),
        ]
    assert "The health check fails: ZeroDivisionError: of a secret." in caplog.text
    assert threads == {threading.get_ident()}


async def test_a_handler_that_hangs(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "ANSWER_TIMEOUT", 0.05)

    async def handler(context: PyncetteContext) -> bool:
        await anyio.sleep_forever()
        return True

    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK, healthcheck_handler=handler)
    async with running(app):
        assert await request("GET", port) == (500, b"Not OK: the handler has not answered for 0.05 s")


async def test_a_task_that_blocks_the_event_loop(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "ANSWER_TIMEOUT", 0.05)
    app, answers = Pyncette(), []
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    async with running(app):
        asking = threading.Thread(target=lambda: answers.append(_request("GET", port)))
        asking.start()
        asking.join(10)  # blocks the event loop
        assert answers == [(500, b"Not OK: the event loop has not answered for 0.05 s")]
    asking.join()


async def test_a_port_in_use(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    with socket.create_server((LOOPBACK, port)):
        with pytest.raises(PyncetteException, match=rf"can't listen on port {port} of 127\.0\.0\.1: .*Choose another"):
            async with app.create():
                pass


async def test_the_server_stops_with_the_block(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    before = threading.active_count()
    async with running(app):
        await request("GET", port)
    assert threading.active_count() <= before + 1  # the thread from which this test sends requests
    with pytest.raises(ConnectionRefusedError):
        await request("GET", port)


async def test_the_server_stops_after_a_cancellation(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    with anyio.CancelScope() as scope:
        async with app.create():
            scope.cancel()
            await anyio.sleep_forever()
    with pytest.raises(ConnectionRefusedError):
        await request("GET", port)


@pytest.mark.parametrize("number", [-1, 65_536])
def test_an_impossible_port(number: int) -> None:
    with pytest.raises(ValueError, match="port must be from 0 to 65535"):
        use_healthcheck_server(Pyncette(), port=number)
    with pytest.raises(TypeError, match="port must be a whole number"):
        use_healthcheck_server(Pyncette(), port="80")  # type: ignore[arg-type]  # the mistake under test


async def test_errors_of_the_block_are_raised_unwrapped(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    with pytest.raises(ZeroDivisionError):
        async with app.create():
            raise ZeroDivisionError


async def test_it_listens_on_the_loopback_interface_by_default(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[object] = []
    bind = socket.socket.bind

    def noted(self: socket.socket, address: tuple[str, int]) -> None:
        bound.append(address)
        bind(self, address)

    monkeypatch.setattr(socket.socket, "bind", noted)
    app = Pyncette()
    use_healthcheck_server(app, port=port)
    async with app.create():
        pass
    assert bound == [(LOOPBACK, port)]


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::"])  # noqa: S104 - what containers need
async def test_it_can_listen_on_all_addresses(port: int, address: str) -> None:
    if address == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=address)
    async with running(app):
        assert (await request("GET", port))[0] in (200, 500)


def _dribble(port: int) -> float:
    """Send a byte every now and then. Returns the seconds until the server closes the connection."""
    began = time.monotonic()
    with socket.create_connection((LOOPBACK, port), timeout=30) as slow:
        with contextlib.suppress(OSError):
            for byte in itertools.cycle(b"x"):
                slow.sendall(bytes([byte]))
                time.sleep(0.02)
                if time.monotonic() - began > 20:
                    break
    return time.monotonic() - began


async def test_a_slow_sender(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "REQUEST_TIMEOUT", 0.2)
    app = Pyncette()
    use_healthcheck_server(app, port=port)
    async with running(app):
        assert await anyio.to_thread.run_sync(_dribble, port) < 10


async def test_idle_connections_do_not_block_probes(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "MAX_CONNECTIONS", 5)
    app = Pyncette()
    use_healthcheck_server(app, port=port, healthcheck_handler=healthy)
    async with running(app):
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=10)) for _ in range(20)]
            assert await request("GET", port) == (200, b"OK")
            ended = [connection.recv(1) == b"" for connection in idle[:15]]
            assert ended == [True] * 15
            assert threading.active_count() < 20


async def healthy(context: PyncetteContext) -> bool:
    await anyio.sleep(0.05)
    return True


async def test_a_hundred_probes_at_once(port: int) -> None:
    """None waits for the backlog, and the handler is not called for each."""
    asked = 0

    async def handler(context: PyncetteContext) -> bool:
        nonlocal asked
        asked += 1
        await anyio.sleep(0.3)
        return True

    app = Pyncette()
    use_healthcheck_server(app, port=port, healthcheck_handler=handler)
    statuses: list[int] = []
    limiter = anyio.CapacityLimiter(100)

    async def probe() -> None:
        statuses.append((await anyio.to_thread.run_sync(_request, "GET", port, limiter=limiter))[0])

    async with running(app):
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(probe)
    assert statuses == [200] * 100
    assert asked < 50


async def test_connections_end_with_the_app(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port)
    async with running(app):
        idle = await anyio.to_thread.run_sync(lambda: socket.create_connection((LOOPBACK, port), timeout=10))
        await request("GET", port)  # the idle connection was accepted before this one
    with idle:
        assert await anyio.to_thread.run_sync(idle.recv, 1) == b""


async def test_overdue_writes(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Polls succeed even if the storage can't be written to."""
    clock, plan = ManualClock(), FaultPlan()
    app = Pyncette(plan.wrap(memory_repository), clock=clock)
    use_healthcheck_server(app, port=port)
    broken = [True]

    @app.task(interval=SECOND)
    async def work(context: Context) -> None:
        if broken:
            plan.always(fail(), "swap")

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(0.5 * SECOND)
        assert (await request("GET", port))[0] == 200
        await clock.advance(1.7 * SECOND)
        assert "writes to the storage are overdue" in context.problems
        status, body = await request("GET", port)
        assert status == 500
        assert b"writes to the storage are overdue" in body
        assert "The health check fails: " in caplog.text
        broken.clear()
        plan.clear()
        await clock.advance(5 * SECOND)
        assert (await request("GET", port))[0] == 200
        context.shutdown()


async def test_an_execution_far_beyond_its_lease() -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)

    @app.task(interval=1000 * SECOND, lease_duration=10 * SECOND, heartbeat=False)
    async def beyond(context: Context) -> None:
        await clock.sleep(25)

    @app.task(interval=1000 * SECOND, lease_duration=10 * SECOND)
    async def renewed(context: Context) -> None:
        await clock.sleep(100)

    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(1019 * SECOND)
        assert context.problems == []
        await clock.advance(2 * SECOND)
        assert context.problems == ["'beyond' is still executed, and its lease ended 11.0 s ago"]
        await clock.advance(5 * SECOND)
        assert context.problems == []
        context.shutdown()
        await clock.advance(100 * SECOND)


async def test_a_clock_that_is_not_known_well_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)

    @app.task(interval=SECOND, lease_duration=10 * SECOND)
    async def work(context: Context) -> None: ...

    async with running(app) as context:
        await clock.advance(SECOND)
        monkeypatch.setattr(ManualClock, "error", 5_000_000)
        assert context.problems == []
        monkeypatch.setattr(ManualClock, "error", 6_000_000)
        assert context.problems == ["the storage's clock is known to 6.0 s only, too little for the leases"]
        monkeypatch.setattr(ManualClock, "error", 0)
