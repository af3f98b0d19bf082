"""The program as an operator has it: in a terminal of a certain width, or in a pipe."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = (sys.executable, "-m", "pyncette_cli")

APP = """
from datetime import timedelta

from pyncette import Context, Pyncette

app = Pyncette("sqlite:///jobs.db", poll_interval=timedelta(milliseconds=50))


@app.dynamic_task(greeting="Hello")
async def report(context: Context) -> None: ...


@app.partitioned_task(partition_count=4)
async def reminder(context: Context) -> None: ...


@app.task(schedule="0 3 * * *")
async def cleanup(context: Context) -> None: ...


@app.fixture()
async def port(app_context):
    raise RuntimeError("a fixture is set up by what executes tasks alone")
    yield


def make_app() -> Pyncette:
    return app
"""


@dataclass(frozen=True, slots=True)
class Screen:
    """What a program has shown, and its exit status."""

    text: str
    status: int


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with an app, and a database that is made with the first instance."""

    folder: Path
    program: tuple[str, ...] = PROGRAM

    def environ(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYNCETTE_", "PYTHON"))}
        return {**kept, "TZ": "UTC", "TERM": "xterm-256color", "NO_COLOR": "1", **extra}

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """In a pipe."""
        return subprocess.run(
            [*self.program, *arguments],
            cwd=self.folder,
            env=self.environ(**extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def show(self, columns: int, *arguments: str, typed: str = "", **extra: str) -> Screen:
        """In a terminal that is so many columns wide."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            [*self.program, *arguments],
            cwd=self.folder,
            env=self.environ(**extra),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        if typed:
            os.write(leader, typed.encode())
        try:
            text = b"".join(_read(leader)).decode().replace("\r\n", "\n")
            return Screen(text, process.wait(60))
        finally:
            process.kill()
            os.close(leader)


def _read(leader: int) -> Iterator[bytes]:
    while select.select([leader], [], [], 60)[0]:
        try:
            data = os.read(leader, 65_536)
        except OSError:  # the last process that had the terminal is gone
            return
        if not data:
            return
        yield data


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with the app ``tasks:app``, whose storage is the file ``jobs.db``."""
    (tmp_path / "tasks.py").write_text(APP)
    return Place(tmp_path)


@pytest.fixture
def program(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Calls the program in this process, which is quicker: status, what it printed, what it said besides."""
    from pyncette_cli.main import attempt

    monkeypatch.chdir(place.folder)
    for name, value in {"TZ": "UTC", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PYNCETTE_STORE", "PYNCETTE_APP", "PYNCETTE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(place.folder)
    monkeypatch.delitem(sys.modules, "tasks", raising=False)

    def call(*arguments: str, environ: Mapping[str, str] = {}) -> tuple[int, str, str]:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        status = attempt(list(arguments))
        done = capsys.readouterr()
        return int(status), done.out, done.err

    return call


@pytest.fixture
def calm() -> Callable[[str], str]:
    """Replaces moments and durations in a text by others that are as long."""

    def replace(text: str) -> str:
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2027-01-31 12:00:00", text)
        return re.sub(
            r"(?m)(in )?\d+ (ms|s|min|h|d)( \d+ (s|min|h))?( ago)?\b *",
            lambda found: "in 5 h".ljust(len(found[0])) if len(found[0].rstrip()) > 5 else found[0],
            text,
        )

    return replace
