"""Each command in a terminal of 80 and of 200 columns, compared with the texts in `screens`.

`PYNCETTE_UPDATE_SCREENS=1` writes them anew.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCREENS = Path(__file__).parent / "screens"
STORE = {"PYNCETTE_STORE": "sqlite:///jobs.db"}
LONG = "a report about everything that has happened in the last quarter of the year, for the whole of the board"

COMMANDS: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "list-help": ("list", "--help"),
    "tasks": ("tasks",),
    "list": ("list", "report"),
    "show": ("show", "report", "Ada"),
    "count": ("count",),
    "orphans": ("orphans",),
    "workers": ("workers",),
    "next": ("next", "30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2027-03-26T12:00", "-n", "3"),
    "typo": ("lst",),
}


@pytest.fixture
def filled(place: Any) -> Any:
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
    done = place.run("pause", "report", "--reason", "the mail server is being moved", **STORE)
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("columns", [80, 200])
def test_screens(filled: Any, calm: Callable[[str], str], columns: int) -> None:
    wrong = []
    for name, arguments in COMMANDS.items():
        screen = filled.show(columns, *arguments, **STORE)
        plain = screen.plain
        assert max(map(len, plain.splitlines())) <= columns, plain
        text = f"$ pyncette {' '.join(map(_quoted, arguments))}\n{calm(plain)}[exit status {screen.status}]\n"
        path = SCREENS / f"{name}-{columns}.txt"
        if os.environ.get("PYNCETTE_UPDATE_SCREENS"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif text != path.read_text():
            wrong.append(f"{path.name}:\n{text}\ninstead of\n{path.read_text()}")
    assert not wrong, "\n".join(wrong)


def _quoted(argument: str) -> str:
    return f'"{argument}"' if " " in argument else argument


def test_colours_on_terminals_alone(filled: Any) -> None:
    command = ("list", "report")
    assert "\x1b[33mpaused" in filled.show(80, *command, **STORE, NO_COLOR="").text
    assert "\x1b" not in filled.show(80, *command, **STORE, NO_COLOR="1").text.replace("\x1b[1m", "").replace(
        "\x1b[0m", ""
    )
    assert "\x1b" not in filled.run(*command, **STORE, NO_COLOR="").stdout


def test_a_dangerous_command_asks(filled: Any) -> None:
    refused = filled.show(80, "unschedule", "report", "Bob", typed="n\n", **STORE)
    assert "Remove Bob from 'report'? [y/N]" in refused.text
    assert refused.status == 130
    assert filled.show(80, "unschedule", "report", "Bob", typed="y\n", **STORE).status == 0
    assert filled.run("count", "report", **STORE).stdout == "2\n"


def test_help_imports_little(place: Any) -> None:
    """It is quick: the package itself, rich and an event loop take longer than the program may take to answer."""
    code = "import sys; sys.argv[1:] = ['--help']; import atexit, pyncette_cli.main as it; "
    code += "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); it.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=place.environ(), cwd=place.folder
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "click" in loaded
    assert not loaded & {"pyncette", "rich", "anyio", "asyncio", "cron_descriptor", "json"}
