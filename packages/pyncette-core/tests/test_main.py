"""``main()`` in real processes: signals, logging, exit statuses."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from pyncette import Pyncette
from pyncette._app.signals import DUPLICATE_WITHIN
from pyncette.utils import shutdown_on_signals

LOOPS = {"asyncio": ("asyncio", ""), "uvloop": ("asyncio", "1"), "trio": ("trio", "")}

PREAMBLE = """
import datetime, sys, time
import anyio
from pyncette import Context, Pyncette

app = Pyncette(**OPTIONS)

def say(text):
    print(text, flush=True)
"""


class Program:
    """A Python program that runs an app, and its standard output."""

    def __init__(self, path: Path, loop: str, body: str, options: str = "{}") -> None:
        backend, uvloop = LOOPS[loop]
        path.write_text(PREAMBLE.replace("OPTIONS", options) + textwrap.dedent(body) + f"\napp.main({backend!r})\n")
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            env={**os.environ, "USE_UVLOOP": uvloop, "LOG_LEVEL": "INFO"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def read_until(self, line: str) -> None:
        assert self.process.stdout is not None
        for said in self.process.stdout:
            if said.strip() == line:
                return
        raise AssertionError(self.process.communicate())

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture(params=LOOPS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def _start(body: str, options: str = "{}") -> Program:
        programs.append(Program(tmp_path / "program.py", request.param, body, options))
        return programs[-1]

    yield _start
    for program in programs:
        program.process.kill()
        program.process.communicate()


SLOW_TASK = """
@app.task(interval=datetime.timedelta(milliseconds=1))
async def slow(context: Context) -> None:
    say("began")
    await anyio.sleep(0.3)
    say("ended")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_executions_end(start: Callable[..., Program], number: signal.Signals) -> None:
    program = start(SLOW_TASK)
    program.read_until("began")
    program.process.send_signal(number)
    status, out, err = program.end()
    assert (status, out) == (0, "ended\n")
    assert "INFO     pyncette" in err
    assert "Shutting down gracefully." in err
    assert "Traceback" not in err


def test_the_second_signal_ends_it_immediately(start: Callable[..., Program]) -> None:
    program = start(
        """
        @app.task(interval=datetime.timedelta(milliseconds=1))
        async def endless(context: Context) -> None:
            say("began")
            try:
                while not context.app_context.stopping:
                    await anyio.sleep(0.01)
            finally:
                say("stopping")
            await anyio.sleep_forever()
        """
    )
    program.read_until("began")
    program.process.terminate()
    program.read_until("stopping")
    time.sleep(DUPLICATE_WITHIN)
    program.process.terminate()
    status, _, err = program.end()
    assert status == 128 + signal.SIGTERM
    assert "Terminating at once." in err


def test_the_second_signal_ends_a_blocked_loop(start: Callable[..., Program]) -> None:
    program = start(
        """
        import signal, threading, os

        @app.task(interval=datetime.timedelta(milliseconds=1))
        async def blocking(context: Context) -> None:
            say("began")
            while True:
                time.sleep(0.01)
        """
    )
    program.read_until("began")
    program.process.send_signal(signal.SIGINT)
    time.sleep(2 * DUPLICATE_WITHIN)
    program.process.send_signal(signal.SIGTERM)
    status, _, _ = program.end()
    assert status in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_a_second_signal_right_after_the_first_is_ignored(start: Callable[..., Program]) -> None:
    """``timeout``, for example, signals the process, and then its group."""
    program = start(SLOW_TASK)
    program.read_until("began")
    program.process.send_signal(signal.SIGTERM)
    program.process.send_signal(signal.SIGINT)
    program.process.send_signal(signal.SIGTERM)
    status, out, err = program.end()
    assert (status, out) == (0, "ended\n")
    assert "Terminating at once." not in err


def test_json_logs(start: Callable[..., Program]) -> None:
    """Each line is a JSON object, and each event has a name."""
    program = start(
        """
import functools
app.main = functools.partial(app.main, log_format="json")

@app.task(interval=datetime.timedelta(milliseconds=1))
async def fails(context):
    context.app_context.shutdown()
    raise ConnectionError("no route")
"""
    )
    status, _, err = program.end()
    assert status == 0
    lines = [json.loads(line) for line in err.splitlines()]
    named = {line["event"]: line for line in lines if "event" in line}
    assert named.keys() >= {"running", "attempt_failed", "stopping", "stopped"}
    failed = named["attempt_failed"]
    assert (failed["level"], failed["task"], failed["logger"]) == ("WARNING", "fails", "pyncette._loop.failures")
    assert failed["exception"].endswith("ConnectionError: no route")
    assert datetime.datetime.fromisoformat(failed["time"]).utcoffset() == datetime.timedelta()


def test_an_unknown_log_format() -> None:
    with pytest.raises(ValueError, match="'text' or 'json'"):
        Pyncette().main(log_format="xml")  # type: ignore[arg-type]  # that is the mistake


def test_signals_in_a_users_own_event_loop(start: Callable[..., Program]) -> None:
    program = start(
        SLOW_TASK
        + """
from pyncette.utils import shutdown_on_signals

async def main(self, backend):
    async with app.create() as context, shutdown_on_signals(context):
        await context.run()
    say("closed")

Pyncette.main = lambda self, backend: anyio.run(main, self, backend, backend=backend)
"""
    )
    program.read_until("began")
    program.process.terminate()
    status, out, err = program.end()
    assert (status, out) == (0, "ended\nclosed\n")
    assert "Traceback" not in err


async def test_signals_outside_the_main_thread() -> None:
    async with Pyncette().create() as context:

        async def elsewhere() -> None:
            async with shutdown_on_signals(context):
                pass

        with pytest.raises(RuntimeError, match="Signals arrive only in the main thread"):
            await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere))


def test_a_drain_deadline_gives_leases_back(start: Callable[..., Program]) -> None:
    program = start(
        """
        @app.task(interval=datetime.timedelta(milliseconds=1))
        async def endless(context: Context) -> None:
            say("began")
            try:
                await anyio.sleep_forever()
            finally:
                say("cancelled")
        """,
        options="dict(drain_timeout=__import__('datetime').timedelta(milliseconds=100))",
    )
    program.read_until("began")
    program.process.terminate()
    status, out, err = program.end()
    assert (status, out) == (0, "cancelled\n")
    assert "executions that are cancelled: 1." in err


def test_a_signal_before_the_storage_is_open(start: Callable[..., Program]) -> None:
    program = start(
        """
        @app.fixture()
        async def never(app_context):
            say("setting up")
            await anyio.sleep_forever()
            yield
        """
    )
    program.read_until("setting up")
    program.process.terminate()
    status, _, err = program.end()
    assert status == 0
    assert "Stopped before the storage was open" in err


def test_an_unusable_storage_is_reported_in_one_line(start: Callable[..., Program]) -> None:
    program = start(
        """
        from contextlib import asynccontextmanager
        from pyncette.errors import RepositoryException

        @asynccontextmanager
        async def broken():
            raise RepositoryException("The shelf has collapsed: put up a new one.")
            yield

        app = Pyncette(repository_factory=broken)
        """
    )
    status, _, err = program.end()
    assert status == 1
    assert "CRITICAL pyncette._app.console: The shelf has collapsed: put up a new one." in err
    assert "Traceback" not in err


def test_a_port_in_use_is_reported(start: Callable[..., Program]) -> None:
    program = start(
        """
        import socket
        from pyncette.healthcheck import use_healthcheck_server

        taken = socket.create_server(("127.0.0.1", 0))
        use_healthcheck_server(app, port=taken.getsockname()[1], bind_address="127.0.0.1")
        """
    )
    status, _, err = program.end()
    assert status == 1
    assert "CRITICAL pyncette._app.console: The health check can't listen" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "options, says",
    [
        ("dict(sqlite_database='/no/such/place.db')", "create '/no/such' first"),
        (f"dict(sqlite_database='{'x' * 300}')", "can't be a file: File name too long"),
    ],
)
def test_an_invalid_storage_option_is_reported_in_one_line(
    start: Callable[..., Program], options: str, says: str
) -> None:
    pytest.importorskip("pyncette.sqlite")
    status, out, err = start("", options).end()
    assert (status, out) == (1, "")
    assert says in err
    assert len(err.splitlines()) == 1, err


def test_an_error_of_a_fixture_is_shown_in_full(start: Callable[..., Program]) -> None:
    program = start(
        """
        @app.fixture()
        async def broken(app_context):
            raise ValueError("a bug")
            yield
        """
    )
    status, _, err = program.end()
    assert status == 1
    assert "Traceback" in err
    assert 'raise ValueError("a bug")' in err


def test_a_backend_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="'asyncio' or 'trio', not 'curio'"):
        Pyncette().main(backend="curio")


@pytest.mark.parametrize(
    "name, value, backend, says",
    [("LOG_LEVEL", "LOUD", "asyncio", "LOG_LEVEL is 'LOUD'"), ("USE_UVLOOP", "1", "trio", "uvloop is for asyncio")],
)
def test_environment_variables_that_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, backend: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=says):
        Pyncette().main(backend)


@pytest.mark.parametrize(
    "module, backend, says",
    [("uvloop", "asyncio", r"pip install .pyncette.uvloop.>=2"), ("trio", "trio", "trio is not")],
)
def test_a_loop_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, module: str, backend: str, says: str) -> None:
    monkeypatch.setenv("USE_UVLOOP", "1" if module == "uvloop" else "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=says):
        Pyncette().main(backend)


async def test_main_inside_of_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match=r"app\.create\(\)"):
        Pyncette().main()
