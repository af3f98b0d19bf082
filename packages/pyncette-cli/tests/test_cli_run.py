"""`pyncette run` with several workers: signals, crashes, and a killed supervisor."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from pyncette_cli.watching import Watcher
from tests.helpers.fields import documented

pytestmark = pytest.mark.timeout(180)

APP = """
import os
from datetime import timedelta

import anyio

from pyncette import Context, Pyncette

app = Pyncette("sqlite:///jobs.db", poll_interval=timedelta(milliseconds=100))
here = os.path.dirname(__file__)


def note(name):
    with open(os.path.join(here, name), "a") as file:
        print(os.getpid(), file=file)


@app.task(interval=timedelta(milliseconds=100), fast_forward=True)
async def tick(context: Context) -> None:
    note("ticks")


@app.task(interval=timedelta(milliseconds=200), lease_duration=timedelta(seconds=60))
async def long(context: Context) -> None:
    note("begun")
    await anyio.sleep(float(os.environ.get("TAKES", "0.1")))
    note("ended")
"""

DEADLINE = 60


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The live child processes of a process."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def start(place: Any) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts workers, and returns once all of them execute tasks."""
    started: list[subprocess.Popen[str]] = []
    (place.folder / "tasks.py").write_text(APP)

    def begin(*arguments: str, workers: int = 3, **extra: str) -> subprocess.Popen[str]:
        log = (place.folder / "log").open("w")
        with log:
            process = subprocess.Popen(
                [*place.program, "run", "tasks:app", "--workers", str(workers), *arguments],
                cwd=place.folder,
                env=place.environ(**extra),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        started.append(process)
        until(lambda: (place.folder / "log").read_text().count("Running 2 tasks.") == workers)
        return process

    yield begin
    for process in started:
        for pid in [*children(process.pid), process.pid]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def log(place: Any) -> str:
    return str((place.folder / "log").read_text())


def count(place: Any, name: str) -> int:
    path = place.folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_all_workers_gracefully(start: Any, place: Any, number: int) -> None:
    process = start(TAKES="1")
    workers = children(process.pid)
    assert len(workers) == 3
    until(lambda: count(place, "begun"))
    process.send_signal(number)
    assert process.wait(DEADLINE) == 0
    assert not any(map(alive, workers))
    assert count(place, "begun") == count(place, "ended")
    assert log(place).count("All executions have ended.") == 3


def test_a_second_signal_ends_them_at_once(start: Any, place: Any) -> None:
    process = start(TAKES="300")
    workers = children(process.pid)
    until(lambda: count(place, "begun"))
    process.send_signal(signal.SIGINT)
    until(lambda: log(place).count("Shutting down gracefully.") == 3)
    time.sleep(0.3)  # signals in quick succession count as one
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 130
    assert not any(map(alive, workers))
    assert count(place, "ended") == 0


def test_a_terminal_signals_the_whole_group(start: Any, place: Any) -> None:
    process = start(TAKES="0.5")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(DEADLINE) == 0
    assert log(place).count("All executions have ended.") == 3


def test_a_killed_worker_is_replaced(start: Any, place: Any) -> None:
    process = start()
    before = children(process.pid)
    os.kill(before[1], signal.SIGKILL)
    until(lambda: log(place).count("Running 2 tasks.") == 4)
    assert len(children(process.pid)) == 3
    assert re.search(
        r"\[0\] ERROR .* Worker \d ended after \d+ s, killed by SIGKILL; it starts again in 1 s\.", log(place)
    )
    process.terminate()
    assert process.wait(DEADLINE) == 0


def test_no_worker_outlives_a_killed_supervisor(start: Any, place: Any) -> None:
    process = start(TAKES="0.5")
    workers = children(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(map(alive, workers)))
    assert log(place).count("All executions have ended.") == 3  # gracefully, since there was enough time


def test_a_long_execution_does_not_keep_a_worker_alive_without_a_supervisor(start: Any, place: Any) -> None:
    process = start(TAKES="300")
    workers = children(process.pid)
    until(lambda: count(place, "begun"))
    process.kill()
    process.wait()
    until(lambda: not any(map(alive, workers)))
    assert count(place, "ended") == 0


def test_a_mistake_is_printed_once(place: Any) -> None:
    (place.folder / "tasks.py").write_text("import not_there\n")
    done = place.run("run", "tasks:app", "--workers", "3")
    assert done.returncode == 1
    assert done.stderr.count("No module named 'not_there'") == 1


def test_an_error_of_the_storage_is_printed_once(place: Any) -> None:
    (place.folder / "tasks.py").write_text(APP.replace("sqlite:///jobs.db", "sqlite:///nowhere/jobs.db"))
    done = place.run("run", "tasks:app", "--workers", "3")
    assert done.returncode == 1
    assert done.stderr.count("does not exist") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_changed_code_is_reloaded(start: Any, place: Any, workers: int) -> None:
    """Even after a mistake in it, which ends the workers."""
    process = start("--reload", workers=workers)
    code = (place.folder / "tasks.py").read_text()
    (place.folder / "other.py").write_text("")
    until(lambda: "other.py has changed: starting again." in log(place))
    until(lambda: log(place).count("Running 2 tasks.") == 2 * workers)
    (place.folder / "tasks.py").write_text("1 +\n")
    until(lambda: "it starts again when a file has changed" in log(place))
    (place.folder / "tasks.py").write_text(code.replace('note("ticks")', 'note("others")'))
    until(lambda: count(place, "others"))
    until(lambda: log(place).count("Running 2 tasks.") == 3 * workers)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 0
    assert "Traceback" not in log(place)


def test_a_long_execution_does_not_delay_a_reload(start: Any, place: Any) -> None:
    process = start("--reload", workers=1, TAKES="300")
    until(lambda: count(place, "begun"))
    (before,) = children(process.pid)
    (place.folder / "other.py").write_text("")
    until(lambda: not alive(before))
    until(lambda: log(place).count("Running 2 tasks.") == 2)


def test_a_watcher_watches_only_code(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    for path in ("a.py", "deep/er/b.py", "notes.txt", ".git/c.py", "env/pyvenv.cfg", "env/d.py", "__pycache__/e.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    anyio.run(watcher.look)
    assert watcher._seen.keys() == {"a.py", "deep/er/b.py"}
    (tmp_path / "deep/er/b.py").unlink()
    assert anyio.run(watcher.change) == "deep/er/b.py"


def test_the_log_as_json(start: Any, place: Any) -> None:
    process = start("--log-format", "json", workers=2)
    process.terminate()
    assert process.wait(DEADLINE) == 0
    records = [json.loads(line) for line in log(place).splitlines()]
    assert {record["worker"] for record in records} == {0, 1, 2}
    assert all(record.keys() >= {"time", "level", "logger", "message", "pid"} for record in records)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_one_process_on_each_event_loop(start: Any, place: Any, loop: str) -> None:
    process = start("--loop", loop, workers=1)
    until(lambda: count(place, "ticks"))
    done = place.run("workers", "--json", "--store", "sqlite:///jobs.db")
    told = json.loads(done.stdout)
    assert told["event_loop"] == loop
    assert told.keys() == documented("workers")
    process.terminate()
    assert process.wait(DEADLINE) == 0
