"""The two scripts that move instances from 1.1.0: the first runs with it, the second with version 2."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devtool.layout import EXAMPLES

from tests.packaging.environments import CleanEnvironment

pytestmark = pytest.mark.timeout(1500)
SCRIPTS = EXAMPLES / "from_1_1_0"

DECLARED = """
from datetime import timedelta
from pyncette import Pyncette
from pyncette.sqlite import sqlite_repository

app = Pyncette(repository_factory=sqlite_repository, sqlite_database="{database}", batch_size=1000)

@app.task(interval=timedelta(hours=1))
async def static(context): ...

@app.dynamic_task(greeting="Hello")
async def report(context): ...

@app.partitioned_task(partition_count=4)
async def many(context): ...
"""

# All kinds of instances, created by the code of 1.1.0, except that all calls of register_task share one transaction.
OLD = """
import asyncio, datetime, json, sys
import dateutil.tz
from old_app import app, report, many

NOW = datetime.datetime.now(dateutil.tz.UTC)
KINDS = [
    dict(interval=datetime.timedelta(days=30, microseconds=7)),
    dict(schedule="30 8 * * 1-5", timezone="Europe/Berlin"),
    dict(schedule="*/7 * * * *"),
    dict(execute_at=NOW + datetime.timedelta(days=3, microseconds=123457)),
    dict(execute_at=NOW - datetime.timedelta(days=3)),  # overdue
    dict(interval=datetime.timedelta(seconds=0.3)),  # overdue by the time that it is imported
]

async def main():
    async with app.create() as context:
        for i, kind in enumerate(KINDS):
            await context.schedule_task(report, f"own:{i} ü", number=i, **kind)
        repository = context._repository
        rows = []
        for i in range(%(count)d - len(KINDS)):
            task = (report if i %% 2 else many).instantiate(f"user {i}", number=i, **KINDS[i %% len(KINDS)])
            due = task.get_next_execution(NOW + datetime.timedelta(microseconds=i), None)
            spec = json.dumps(task.as_spec())
            rows.append((task.canonical_name, task.parent_task.canonical_name, spec, due.timestamp()))
        async with repository._transaction(explicit_begin=True):
            await repository._connection.executemany(
                "INSERT INTO pyncette_tasks (name, parent_name, task_spec, execute_after) VALUES (?, ?, ?, ?)", rows)

asyncio.run(main())
"""

# Compares what is stored with what was exported. Prints the number of instances, and those that differ.
COMPARE = """
import datetime, json, sys
import anyio
from new_app import app, report, many

async def main():
    stored = {}
    async with app.create() as context:
        for task in (report, many):
            token = None
            while True:
                page = await context.list_tasks(task, limit=1000, continuation_token=token)
                for state in page.tasks:
                    one = state.task
                    stored[task.name, one.name] = [state.scheduled_at.timestamp(), one.schedule, one.timezone,
                        one.interval and one.interval.total_seconds(), one.extra_args]
                token = page.continuation_token
                if token is None:
                    break
    expected = {}
    for row in map(json.loads, open("instances.jsonl", encoding="utf-8")):
        expected[row["task"], row["instance"]] = [datetime.datetime.fromisoformat(row["next"]).timestamp(),
            row.get("schedule"), row.get("timezone"), row.get("interval"), row["args"]]
    moved = [key for key in expected if stored.get(key) != expected[key]]
    print(json.dumps([len(stored), len(expected), len(moved), [(stored.get(k), expected[k]) for k in moved[:3]]]))

anyio.run(main)
"""


def run(interpreter: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [interpreter, *map(str, arguments)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=700, check=False)


@pytest.fixture
def count(pytestconfig: pytest.Config) -> int:
    """The number of instances."""
    return 100_000 if pytestconfig.getoption("--thorough") else 5_000


@pytest.fixture
def exported(clean: CleanEnvironment, tmp_path: Path, count: int) -> Path:
    """A folder with the instances exported from 1.1.0, and an app of version 2."""
    clean.pip("install", "pyncette==1.1.0")
    (tmp_path / "old_app.py").write_text(DECLARED.format(database="old.db"))
    (tmp_path / "new_app.py").write_text(DECLARED.format(database="new.db"))
    (tmp_path / "fill.py").write_text(OLD % {"count": count})
    filled = run(clean.interpreter, "fill.py", folder=tmp_path)
    assert filled.returncode == 0, filled.stderr
    done = run(clean.interpreter, SCRIPTS / "export_instances.py", "old_app:app", "instances.jsonl", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{count} instances exported.\n"), done.stderr
    return tmp_path


def test_no_instance_is_moved(exported: Path, count: int) -> None:
    arguments = (SCRIPTS / "import_instances.py", "new_app:app", "instances.jsonl")
    for _ in range(2):  # the second time, everything exists already and stays unchanged
        done = run(sys.executable, *arguments, folder=exported)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("0 were refused.") == 2
        compared = run(sys.executable, "-c", COMPARE, folder=exported)
        assert compared.returncode == 0, compared.stderr
        assert json.loads(compared.stdout) == [count, count, 0, []]


def test_what_can_not_be_imported_is_said(tmp_path: Path) -> None:
    (tmp_path / "new_app.py").write_text(DECLARED.format(database="new.db"))
    due = {"next": "2026-01-01T00:00:00+00:00"}
    rows: list[dict[str, object]] = [
        {"task": "report", "instance": "good", "args": {}, "interval": 60.0},
        {"task": "report", "instance": "bad", "args": {}, "interval": 0.0},
        {"task": "report", "instance": "nan", "args": {"x": math.nan}, "interval": 1.0},
        {"task": "other", "instance": "x", "args": {}, "interval": 60.0},
    ]
    (tmp_path / "instances.jsonl").write_text("".join(json.dumps(row | due) + "\n" for row in rows))
    done = run(sys.executable, SCRIPTS / "import_instances.py", "new_app:app", "instances.jsonl", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "report: 1 instances are stored, 2 were refused." in done.stdout
    assert "  bad: interval must be positive" in done.stdout
    assert "  nan: The argument x is nan" in done.stdout
    assert "other: 1 instances, but no such task is declared." in done.stdout
