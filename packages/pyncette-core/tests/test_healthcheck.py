"""The health check's server, asked by a real client on the loopback address."""

from __future__ import annotations

import datetime
import http.client
import socket
import threading

import anyio
import anyio.to_thread
import pytest

from pyncette import Pyncette, PyncetteContext, healthcheck
from pyncette.errors import PyncetteException
from pyncette.healthcheck import use_healthcheck_server
from pyncette.testing import ManualClock
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
        assert await request("GET", port) == (500, b"Not OK")
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await clock.advance(SECOND)
            assert await request("GET", port) == (200, b"OK")
            context.shutdown()
        await clock.advance(1.9 * SECOND)
        assert await request("GET", port) == (200, b"OK")
        await clock.advance(SECOND)
        assert await request("GET", port) == (500, b"Not OK")


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
async def test_any_other_verb(port: int, verb: str) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    async with running(app):
        assert (await request(verb, port))[0] == 405


async def test_a_handler_of_ones_own(port: int) -> None:
    answers: list[bool | Exception] = [True, False, ZeroDivisionError()]
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
        assert [(await request("GET", port))[0] for _ in range(3)] == [200, 500, 500]
    assert threads == {threading.get_ident()}


async def test_a_handler_that_hangs(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "ANSWER_TIMEOUT", 0.05)

    async def handler(context: PyncetteContext) -> bool:
        await anyio.sleep_forever()
        return True

    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK, healthcheck_handler=handler)
    async with running(app):
        assert (await request("GET", port))[0] == 500


async def test_a_task_that_blocks_the_event_loop(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthcheck, "ANSWER_TIMEOUT", 0.05)
    app, answers = Pyncette(), []
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    async with running(app):
        asking = threading.Thread(target=lambda: answers.append(_request("GET", port)[0]))
        asking.start()
        asking.join(10)  # on the event loop: nothing else happens there meanwhile
        assert answers == [500]
    asking.join()


async def test_a_taken_port(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    with socket.create_server((LOOPBACK, port)):
        with pytest.raises(PyncetteException, match=rf"can't listen on port {port} of 127\.0\.0\.1: .*Choose another"):
            async with app.create():
                pass


async def test_it_is_gone_afterwards(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    before = threading.active_count()
    async with running(app):
        await request("GET", port)
    assert threading.active_count() <= before + 1  # the thread in which this test asks
    with pytest.raises(ConnectionRefusedError):
        await request("GET", port)


async def test_it_is_gone_after_a_cancellation(port: int) -> None:
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


async def test_errors_of_the_block_arrive_as_themselves(port: int) -> None:
    app = Pyncette()
    use_healthcheck_server(app, port=port, bind_address=LOOPBACK)
    with pytest.raises(ZeroDivisionError):
        async with app.create():
            raise ZeroDivisionError
