"""An app, and the command line that controls it."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.helpers.terminal import Place

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


@pytest.fixture(scope="session")
def make_place() -> Callable[[Path], Place]:
    """A function that writes the app ``tasks:app`` to a folder. Its storage is the file ``jobs.db`` there."""

    def make(folder: Path) -> Place:
        (folder / "tasks.py").write_text(APP)
        return Place(folder)

    return make


@pytest.fixture
def place(tmp_path: Path, make_place: Callable[[Path], Place]) -> Place:
    """A folder with the app."""
    return make_place(tmp_path)


@pytest.fixture
def program(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Calls the program in this process, which is faster, and returns its exit status, standard output and errors."""
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
    """Replaces moments and durations in a text with constants of the same length."""

    def replace(text: str) -> str:
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2027-01-31 12:00:00", text)
        return re.sub(
            r"(?m)(in )?\d+ (ms|s|min|h|d)( \d+ (s|min|h))?( ago)?\b *",
            lambda found: "in 5 h".ljust(len(found[0])) if len(found[0].rstrip()) > 5 else found[0],
            text,
        )

    return replace
