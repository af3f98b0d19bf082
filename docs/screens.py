# /// script
# dependencies = ["pyncette[cli]"]
# ///
"""Writes the screens of the command line into its page: what the real program shows in a terminal of 100 columns.

./dev run docs/screens.py
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.terminal import Place

PAGE = Path(__file__).with_name("command_line.md")
COLUMNS = 100

APP = """
from datetime import timedelta

from pyncette import Context, Pyncette, Retry

app = Pyncette("sqlite:///jobs.db", history=timedelta(days=7), worker_name="eu-1")


@app.dynamic_task(retry=Retry(max_attempts=2, delay=timedelta(milliseconds=10)))
async def report(context: Context) -> None:
    if context.args.get("printer"):
        raise ConnectionError("the printer does not answer")


@app.task(schedule="0 3 * * *", timezone="Europe/Berlin")
async def cleanup(context: Context) -> None: ...
"""

BEFORE = [
    "schedule report Ada --cron '0 8 * * mon-fri' --timezone Europe/London --app tasks",
    "schedule report Bob --every 90m --app tasks",
    "schedule report Eve --at +0s --arg printer=true --app tasks",
]

SCREENS = {
    "screens": ["list report", "dead", "show report Eve", "workers", "doctor"],
    "backfill": [
        "backfill report Ada --from 2026-11-01 --until 2026-11-07 --dry-run",
        "backfill report Ada --from 2026-11-01 --until 2026-11-07 --id november --yes",
        "backfill report Ada --list",
    ],
    "next": ["next '30 2 * * *' --timezone Europe/Berlin --after 2027-03-26T12:00 -n 3"],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        (place.folder / "tasks.py").write_text(APP)
        for line in BEFORE:
            place.run(*shlex.split(line)).check_returncode()
        worker = subprocess.Popen([*place.program, "run", "tasks"], cwd=folder, stderr=subprocess.DEVNULL)
        try:
            while place.run("workers", "--store", "sqlite:///jobs.db").returncode or "Eve" not in dead(place):
                time.sleep(0.2)
            text = PAGE.read_text()
            for name, commands in SCREENS.items():
                text = put(text, name, "\n".join(shown(place, line) for line in commands))
        finally:
            worker.terminate()
            worker.wait()
    PAGE.write_text(text)


def dead(place: Place) -> str:
    return place.run("dead", "--store", "sqlite:///jobs.db").stdout


def shown(place: Place, line: str) -> str:
    """A command, and what it shows."""
    screen = place.show(COLUMNS, *shlex.split(line), PYNCETTE_STORE="sqlite:///jobs.db")
    return f"$ pyncette {line}\n{screen.plain}"


def put(page: str, name: str, screen: str) -> str:
    """The page with another screen between the marks."""
    lines = [line.rstrip() for line in screen.strip("\n").splitlines()]
    block = "\n".join(["```text", *lines, "```", ""])
    marks = rf"(?s)(<!-- {name}[^>]*-->\n).*?(<!-- /{name} -->)"
    return re.sub(marks, lambda found: found[1] + block + found[2], page)


if __name__ == "__main__":
    main()
