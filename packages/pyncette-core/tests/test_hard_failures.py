"""Tasks that fail in ways that end programs, tasks that keep failing, and names that would forge log lines."""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from pyncette import Context, FailureMode, Pyncette
from pyncette._app.console import DRIVERS
from pyncette._loop import failures
from pyncette.testing import ManualClock
from pyncette.utils import with_heartbeat
from tests.running import running

MINUTE = datetime.timedelta(minutes=1)


async def exits(context: Context) -> None:
    sys.exit(3)


def exits_in_a_thread(context: Context) -> None:
    argparse.ArgumentParser().parse_args(["--no-such-option"])


async def closes(context: Context) -> None:
    raise GeneratorExit


def closes_in_a_thread(context: Context) -> None:
    raise GeneratorExit


class Ends(BaseException):
    pass


async def raises_its_own(context: Context) -> None:
    raise Ends


async def raises_a_group(context: Context) -> None:
    raise BaseExceptionGroup("two", [SystemExit(2), ValueError("no")])


FUNCTIONS: list[Callable[[Context], Any]] = [
    exits,
    exits_in_a_thread,
    closes,
    closes_in_a_thread,
    raises_its_own,
    raises_a_group,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
async def test_an_error_that_ends_programs_only_fails_the_execution(function: Callable[[Context], Any]) -> None:
    clock, others = ManualClock(), []
    app = Pyncette(clock=clock)
    failing = app.task(name="failing", interval=MINUTE, failure_mode=FailureMode.COMMIT)(function)

    @app.task(interval=MINUTE)
    async def other(context: Context) -> None:
        others.append(context.scheduled_at)

    async with running(app) as context:
        await clock.advance(3 * MINUTE)
        state = await context.get_task(failing)
        assert state is not None
        assert state.scheduled_at == clock.time + MINUTE  # it was settled like any failure
    assert len(others) == 3


async def test_ctrl_c_still_ends_the_program() -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)

    @app.task(interval=MINUTE)
    async def interrupted(context: Context) -> None:
        raise BaseExceptionGroup("from a task group", [KeyboardInterrupt()])

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - groups of any depth
        async with running(app):
            await clock.advance(2 * MINUTE)
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions
    assert isinstance(error, KeyboardInterrupt)


async def test_a_failure_is_logged_in_full_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)
    runs: list[int] = []

    @app.task(interval=MINUTE, failure_mode=FailureMode.COMMIT)
    async def failing(context: Context) -> None:
        runs.append(1)
        if len(runs) == 4:
            raise KeyError(len(runs))
        raise ValueError(f"no\n{len(runs)}")

    def reported() -> list[tuple[str, bool]]:
        records = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
        caplog.clear()
        return [record for record in records if "fail" in record[0]]

    async with running(app):
        await clock.advance(3 * MINUTE)
        assert reported() == [
            ("Task failing failed.", True),
            ("Task failing failed with the same error, 2 times so far: ValueError: no 2", False),
            ("Task failing failed with the same error, 3 times so far: ValueError: no 3", False),
        ]
        await clock.advance(2 * MINUTE)
        assert reported() == [("Task failing failed.", True)] * 2
        monkeypatch.setattr(failures, "IN_FULL_AFTER", 0)
        await clock.advance(MINUTE)
        assert reported() == [("Task failing failed.", True)]


@pytest.mark.parametrize("name", ["a\nERROR forged", "\x1b[31mred", "\u202egnp", "tab\t"])
async def test_names_are_quoted(caplog: pytest.LogCaptureFixture, name: str) -> None:
    clock = ManualClock()
    app = Pyncette(clock=clock)

    @app.dynamic_task(failure_mode=FailureMode.COMMIT)
    async def template(context: Context) -> None:
        raise ValueError("no")

    async with running(app) as context:
        await context.schedule_task(template, name, execute_at=clock.time)
        await clock.advance(MINUTE)
    ours = [record for record in caplog.records if record.name.startswith("pyncette")]
    [failed] = [record for record in ours if record.getMessage().endswith(" failed.")]
    assert failed.getMessage().isprintable()
    assert vars(failed)["task"] == f"template:{name}"
    assert all(record.getMessage().isprintable() for record in ours)


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("synchronous", [False, True])
async def test_heartbeats_with_a_handmade_context(synchronous: bool, cancel: bool) -> None:
    beats: list[float] = []

    async def heartbeat() -> None:
        beats.append(1)

    @with_heartbeat(0.5, cancel_on_lease_lost=cancel)
    async def slow(context: Context) -> None:
        while len(beats) < 3:  # noqa: ASYNC110 - nothing signals a heartbeat
            await anyio.sleep(0.01)

    @with_heartbeat(0.5, cancel_on_lease_lost=cancel)
    def slow_in_a_thread(context: Context) -> None:
        anyio.from_thread.run(anyio.sleep, 0.1)

    task = SimpleNamespace(lease_duration=datetime.timedelta(seconds=0.04))
    context: Any = SimpleNamespace(heartbeat=heartbeat, task=task)
    with anyio.fail_after(10):
        await (slow_in_a_thread if synchronous else slow)(context)
    assert beats


PROGRAM = """
import datetime, logging, signal
from pyncette import Pyncette

app = Pyncette()

@app.task(interval=datetime.timedelta(hours=1))
async def task(context): ...

@app.fixture()
async def ready(app_context):
    print([logging.getLogger(name).getEffectiveLevel() for name in ("botocore", "asyncpg", "mine")], flush=True)
    yield

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so
app.main()
"""


def _program(level: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "LOG_LEVEL": level}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Its output after it has ended; it is killed if it doesn't end."""
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_sighup_is_graceful_and_drivers_are_silent() -> None:
    with _program("DEBUG") as process:
        assert process.stdout is not None
        levels = process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        _, output = _ended(process)
    assert levels.strip() == str([logging.INFO, logging.INFO, logging.DEBUG])
    assert process.returncode == 0
    assert "Shutting down gracefully." in output


def test_levels_above_info_apply_to_drivers_too() -> None:
    with _program("ERROR") as process:
        assert process.stdout is not None
        levels = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _ended(process)
    assert levels.strip() == str([logging.ERROR] * 3)
    assert "botocore" in DRIVERS
