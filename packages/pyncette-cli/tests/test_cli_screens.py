"""Each command in a terminal of 80 and of 200 columns, compared with the texts in `screens`.

`PYNCETTE_UPDATE_SCREENS=1` rewrites them.
"""

import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pyncette_cli import output

SCREENS = Path(__file__).parent / "screens"
STORE = {"PYNCETTE_STORE": "sqlite:///jobs.db"}
LONG = "a report about everything that has happened in the last quarter of the year, for the whole of the board"

FRAGILE = """
from datetime import timedelta

import anyio

from pyncette import Context, Pyncette, Retry

app = Pyncette("sqlite:///jobs.db", history=timedelta(days=7), worker_name="eu-1")


@app.dynamic_task(retry=Retry(max_attempts=1))
async def letter(context: Context) -> None:
    context.app_context.shutdown()
    await anyio.sleep(1.1)  # some seconds, with one digit
    raise ConnectionError("the mail server is down")
"""

COMMANDS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "list-help": ("list", "--help"),
    "run-help": ("run", "--help"),
    "completion-help": ("completion", "--help"),
    "tasks": ("tasks",),
    "list": ("list", "report"),
    "show": ("show", "report", "Ada"),
    "show-dead": ("show", "letter", "Eve"),
    "count": ("count",),
    "dead": ("dead",),
    "runs": ("runs",),
    "orphans": ("orphans",),
    "workers": ("workers",),
    "next": ("next", "30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2027-03-26T12:00", "-n", "3"),
    "doctor": ("doctor",),
    "schema-status": ("schema", "status"),
    "schema-upgrade": ("schema", "upgrade"),
    # The commands from here on change something.
    "schedule": ("schedule", "report", "Cleo", "--cron", "0 8 * * *"),
    "pause": ("pause", "report", "Ada", "Bob", "--reason", "on leave"),
    "resume": ("resume", "report"),
    "trigger": ("trigger", "report", "Bob"),
    "backfill-dry": ("backfill", "report", "Cleo", "--from", "2026-01-01", "--until", "2026-01-31", "--dry-run"),
    "backfill": ("backfill", "report", "Cleo", "--from", "2026-01-01", "--until", "2026-01-31", "--id", "y", "--yes"),
    "backfill-list": ("backfill", "report", "Cleo", "--list"),
    "retry-dry": ("retry", "letter", "--all", "--dry-run"),
    "retry": ("retry", "letter", "--all", "--yes"),
    "recompute": ("recompute",),
    "export": ("export", "-f", "out.jsonl"),
    "import-dry": ("import", "out.jsonl", "--dry-run"),
    "import": ("import", "out.jsonl"),
    "unschedule": ("unschedule", "report", "Bob", "Nob", "--yes"),
    "purge-dry": ("purge", "letter", "--dry-run"),
    "purge": ("purge", "letter", "--yes"),
    # Mistakes.
    "typo": ("lst",),
    "file": ("run", "tasks.py"),
    "function": ("run", "tasks:make_app"),
    "no-server": ("tasks", "--store", "postgresql://me:hunter2@127.0.0.1:1/jobs"),
    "no-scheme": ("tasks", "--store", "jobs.db"),
    "no-such-task": ("show", "repot", "Ada"),
}

SENTENCES = ("backfill-dry", "backfill", "no-server", "no-scheme")
"""They may be longer than a line, and the terminal wraps them."""

LOOSE = ("dead",)
"""Has a column that gets wider with the seconds that pass."""


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory, make_place: Callable[[Path], Any]) -> Path:
    """A folder with a database. Each test copies it, because the commands that fill it take seconds."""
    place = make_place(tmp_path_factory.mktemp("filled"))
    for arguments in (
        (
            "Ada",
            "--cron",
            "0 8 * * mon-fri",
            "--timezone",
            "Europe/London",
            "--from",
            "2090-01-01T00:00",
            "--arg",
            "user=7",
        ),
        ("Bob", "--every", "3650d"),
        (LONG, "--at", "2099-12-31T23:59:59"),
    ):
        done = place.run("schedule", "report", *arguments, "--app", "tasks:app")
        assert done.returncode == 0, done.stderr
    (place.folder / "fragile.py").write_text(FRAGILE)
    for command in (
        ("schedule", "letter", "Eve", "--at", "2020-01-01T00:00", "--app", "fragile"),
        ("run", "fragile"),
        ("pause", "report", "--reason", "the mail server is being moved"),
    ):
        done = place.run(*command, **STORE)
        assert done.returncode == 0, done.stderr
    folder: Path = place.folder
    return folder


@pytest.fixture
def filled(place: Any, filled_once: Path) -> Any:
    shutil.copytree(filled_once, place.folder, dirs_exist_ok=True)
    return place


def settled(text: str) -> str:
    """Replaces parts of a text that differ between machines and runs."""
    text = re.sub(r"\b[0-9a-f]{16}\b", "0" * 16, text)
    text = re.sub(r"\b[\d.,]+ ([MG]B)\b", r"1 \1", text)
    text = re.sub(r"\b[\d.]+ ms\b|\b\d s\b(?! ago)", "1 s", text)
    text = re.sub(r"\bformat \d+", "format 1", text)
    text = text.replace(f"SQLite {sqlite3.sqlite_version}", "SQLite 3")
    return text.replace(f"version {version('pyncette-core')}", "version 2")


@pytest.mark.parametrize("columns", [80, 200])
def test_screens(filled: Any, calm: Callable[[str], str], columns: int) -> None:
    wrong = []
    for name, arguments in COMMANDS.items():
        screen = filled.show(columns, *arguments, **STORE)
        plain = screen.plain
        assert name in SENTENCES or max(map(len, plain.splitlines())) <= columns, plain
        plain = calm(settled(plain))
        plain = re.sub(" {3,}", "  ", plain) if name in LOOSE else plain
        text = f"$ pyncette {' '.join(map(_quoted, arguments))}\n{plain}[exit status {screen.status}]\n"
        path = SCREENS / f"{name}-{columns}.txt"
        if os.environ.get("PYNCETTE_UPDATE_SCREENS"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif text != path.read_text():
            wrong.append(f"{path.name}:\n{text}\ninstead of\n{path.read_text()}")
    assert not wrong, "\n".join(wrong)


def _quoted(argument: str) -> str:
    return f'"{argument}"' if " " in argument else argument


def test_colours_only_on_terminals(filled: Any) -> None:
    command = ("list", "report")
    assert "\x1b[33mpaused" in filled.show(80, *command, **STORE, NO_COLOR="").text
    assert "\x1b" not in filled.show(80, *command, **STORE, NO_COLOR="1").text.replace("\x1b[1m", "").replace(
        "\x1b[0m", ""
    )
    assert "\x1b" not in filled.run(*command, **STORE, NO_COLOR="").stdout


def test_a_progress_bar_shows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with output.progress("Short", 10) as advance:
        advance(5)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(output, "QUIET", 0.0)
    with output.progress("Importing", 1000) as advance:
        for done in (100, 300, 500):
            advance(done)
            time.sleep(0.2)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert re.search(r"Importing .* 500/1000 [\d,]+/s 0:00:0\d", shown)


def test_failed_work_reports_its_progress(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with output.progress("Importing", 1000) as advance:
            advance(100)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert capsys.readouterr().err == "Importing: stopped after 100 of 1,000.\n"


def test_a_dangerous_command_asks_for_confirmation(filled: Any) -> None:
    refused = filled.show(80, "unschedule", "report", "Bob", typed="n\n", **STORE)
    assert "Remove Bob from 'report'? [y/N]" in refused.text
    assert "Nothing was done." in refused.text
    assert refused.status == 130
    named = filled.show(80, "unschedule", "report", "-", "--yes", typed="Nob\n\x04", **STORE)
    assert "Names, one a line; Ctrl-D ends them." in named.text
    assert named.status == 4
    assert filled.show(80, "unschedule", "report", "Bob", typed="y\n", **STORE).status == 0
    assert filled.run("count", "report", **STORE).stdout == "2\n"


def test_help_imports_little(place: Any) -> None:
    """So that it is quick: importing the package itself, rich and an event loop would exceed the time for an answer."""
    code = "import sys; sys.argv[1:] = ['--help']; import atexit, pyncette_cli.main as it; "
    code += "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); it.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=place.environ(), cwd=place.folder
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "click" in loaded
    assert not loaded & {"pyncette", "rich", "anyio", "asyncio", "cron_descriptor", "json"}
