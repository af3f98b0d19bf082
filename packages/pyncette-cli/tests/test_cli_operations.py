"""Dead letters, the log of runs, retries, triggers, exports, imports, and the doctor."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.fields import documented
from tests.helpers.terminal import Place

Program = Callable[..., tuple[int, str, str]]

STORE = ("--store", "sqlite:///jobs.db")
APP = ("--app", "failing:app")

FAILING = """
from datetime import timedelta

from pyncette import Context, Pyncette, Retry

app = Pyncette("sqlite:///jobs.db", poll_interval=timedelta(milliseconds=50), history=timedelta(days=7))


@app.dynamic_task(retry=Retry(max_attempts=1))
async def report(context: Context) -> None:
    if context.args.get("fails"):
        raise ConnectionError("the mail server is down")
    context.app_context.shutdown()
"""


@pytest.fixture
def failed(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """One instance is dead. Another has run once, and is due again in an hour."""
    (tmp_path / "failing.py").write_text(FAILING)
    monkeypatch.delitem(sys.modules, "failing", raising=False)
    assert program("schedule", "report", "Eve", "--at", "+0s", "--arg", "fails=true", *APP)[0] == 0
    assert program("schedule", "report", "Bob", "--every", "1h", *APP)[0] == 0
    assert program("trigger", "report", "Bob", *STORE)[0] == 0
    code = "import failing; failing.app.main()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ}, timeout=60)
    if program("dead", *STORE)[2]:  # Bob's run was first, and stopped the app
        program("trigger", "report", "Bob", *STORE)
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)
    return program


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_dead_instances_are_listed_with_their_error(failed: Program) -> None:
    status, out, _ = failed("dead", *STORE)
    assert status == 0
    assert "Eve" in out
    assert "ConnectionError: the mail server is down" in out
    (dead,) = lines(failed("dead", "report", "--json", *STORE)[1])
    assert (dead["instance"], dead["state"], dead["totals"]["failed"]) == ("Eve", "dead", 1)
    assert dead["runs"][-1]["error"] == "ConnectionError: the mail server is down"
    assert "Recent runs" in failed("show", "report", "Eve", *STORE)[1]


def test_the_log_of_runs(failed: Program) -> None:
    runs = lines(failed("runs", "--json", *STORE)[1])
    assert {(run["instance"], run["outcome"], run["trigger"]) for run in runs} >= {
        ("Eve", "failed", "schedule"),
        ("Bob", "succeeded", "manual"),
    }
    assert [run["instance"] for run in lines(failed("runs", "--outcome", "failed", "--json", *STORE)[1])] == ["Eve"]
    assert lines(failed("runs", "report", "Eve", "--since", "+1h", "--json", *STORE)[1]) == []
    assert "mail server" in failed("runs", "--containing", "mail", *STORE)[1]


def test_dead_instances_are_retried(failed: Program) -> None:
    assert failed("retry", "report", "--all", "--dry-run", *STORE) == (0, "1 of 'report' are dead.\n", "")
    assert failed("retry", "report", "--all", *STORE)[0] == 2  # no terminal for the confirmation
    assert failed("retry", "report", "Bob", *STORE)[1] == "'Bob' of 'report' is not dead, and stays as it is.\n"
    assert failed("retry", "report", "--all", "--yes", *STORE) == (0, "1 of 'report' get fresh attempts.\n", "")
    assert failed("dead", *STORE) == (0, "", "Nothing is dead.\n")
    assert failed("retry", "report", "Nob", *STORE)[0] == 4
    assert failed("retry", "report", *STORE)[0] == 2


def test_single_instances_are_paused(failed: Program) -> None:
    status, out, err = failed("pause", "report", "Bob", "Nob", "--reason", "on leave", *STORE)
    assert (status, out) == (4, "Paused 1 of 'report'.\n")
    assert "Nob" in err
    (bob,) = lines(failed("list", "report", "--state", "paused", "--json", *STORE)[1])
    assert (bob["instance"], bob["paused_reason"]) == ("Bob", "on leave")
    assert bob["scheduled_at"] is not None
    row = failed("list", "report", "--state", "paused", *STORE)[1].splitlines()[1]
    assert row.split()[:5] == ["Bob", "paused", "-", "-", "every"]
    (dead,) = failed("list", "report", "--state", "dead", *STORE)[1].splitlines()[1:]
    assert dead.split() == ["Eve", "dead", "-", "-", "once"]
    assert failed("resume", "report", "Bob", *STORE) == (0, "Resumed 1 of 'report'.\n", "")
    assert failed("list", "report", "--state", "paused", *STORE)[1] == ""


def test_an_instance_is_scheduled_paused(failed: Program) -> None:
    assert failed("schedule", "report", "Zoe", "--every", "1h", "--paused", *STORE)[0] == 0
    assert lines(failed("show", "report", "Zoe", "--json", *STORE)[1])[0]["state"] == "paused"


def test_the_fields_of_json_match_the_documentation(failed: Program) -> None:
    for command in (
        ("tasks",),
        ("orphans",),
        ("list", "report"),
        ("show", "report", "Eve"),
        ("dead",),
        ("runs",),
        ("count",),
        ("next", "0 8 * * *"),
        ("trigger", "report", "Bob"),
        ("backfill", "report", "Bob", "--from", "2026-01-01", "--until", "2026-01-02", "--yes"),
        ("recompute",),
        ("doctor",),
    ):
        for line in lines(failed(*command, "--json", *STORE)[1]):
            assert set(line) == documented(command[0]), command
    (line,) = lines(failed("schedule", "report", "Zoe", "--every", "1h", "--json", *STORE)[1])
    assert set(line) == documented("list") | {"scheduling"}


def test_a_trigger_prints_its_run(failed: Program) -> None:
    (told,) = lines(failed("trigger", "report", "Bob", "--json", *STORE)[1])
    assert len(told["run_id"]) >= 16
    assert lines(failed("show", "report", "Bob", "--json", *STORE)[1])[0]["triggered"] == 1
    assert failed("trigger", "report", "Nob", *STORE)[0] == 4
    assert failed("trigger", "report", *STORE)[0] == 2


def test_instances_move_to_another_storage(failed: Program, tmp_path: Path) -> None:
    failed("schedule", "report", "Ada", "--cron", "0 8 * * *", "--timezone", "Europe/London", "--max-runs", "3", *STORE)
    assert failed("export", "-f", "out.jsonl", *STORE) == (0, "", "Exported 3 instances.\n")
    other = ("--store", "sqlite:///other.db")
    assert failed("import", "out.jsonl", *other)[0] == 3  # a missing database is not created by accident
    assert failed("schema", "upgrade", *other)[0] == 0
    status, _, err = failed("import", "out.jsonl", *other)
    assert (status, "--app" in err) == (4, True)
    assert failed("import", "out.jsonl", "--dry-run", *other, *APP)[1] == "report: 3 instances.\n"
    assert failed("import", "out.jsonl", *other, *APP) == (0, "report: 3 imported, 0 were there already.\n", "")
    assert failed("import", "out.jsonl", *other) == (0, "report: 0 imported, 3 were there already.\n", "")
    assert failed("export", *other)[1] == (tmp_path / "out.jsonl").read_text()


def test_an_interrupted_import_reports_its_progress(failed: Program, place: Place) -> None:
    """It can be repeated."""
    row = json.dumps({"task": "report", "instance": "{}", "next": "2090-01-01T00:00:00Z", "interval": 3600})
    os.mkfifo(place.folder / "in.jsonl")
    argv = [*place.program, "import", "in.jsonl", *STORE]
    process = subprocess.Popen(argv, cwd=place.folder, env=place.environ(), stderr=subprocess.PIPE, text=True)
    with suppress(BrokenPipeError), (place.folder / "in.jsonl").open("w") as file:
        file.writelines(row.replace("{}", str(number)) + "\n" for number in range(2900))
        file.flush()  # the pipe holds 700 lines: two batches of 1,000 are stored by now, the third is incomplete
        process.send_signal(signal.SIGINT)
        for number in range(2900, 10_000):  # it handles the signal when it waits
            file.write(row.replace("{}", str(number)) + "\n")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "Importing: stopped after 2,000.\nInterrupted.\n")


def test_a_line_that_is_not_an_instance(failed: Program, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('\n{"task": "report"}\n')
    status, _, err = failed("import", "in.jsonl", *STORE)
    assert (status, err.splitlines()[0]) == (2, "Error: Line 2 is not an instance: KeyError: 'instance'")


def test_the_doctor_says_what_to_do(failed: Program) -> None:
    status, out, _ = failed("doctor", "--json", *STORE)
    findings = {each["check"]: each for each in lines(out)}
    assert status == 1
    assert {name for name, each in findings.items() if each["verdict"] == "problem"} == {"workers", "dead"}
    assert findings.keys() >= {
        "connection",
        "latency",
        "clock",
        "server",
        "indexes",
        "format",
        "permissions",
        "versions",
    }
    assert "pyncette retry report --all" in findings["dead"]["advice"]
    assert "WHAT TO DO" in failed("doctor", *STORE)[1]


HOURLY = """
from datetime import timedelta

from pyncette import Context, Pyncette

app = Pyncette("sqlite:///jobs.db", poll_interval=timedelta(milliseconds=50))


@app.dynamic_task()
async def report(context: Context) -> None:
    context.app_context.shutdown()


@app.task(interval=timedelta(hours=1))
async def cleanup(context: Context) -> None: ...
"""


def test_the_doctor_says_what_is_late(program: Program, place: Place) -> None:
    (place.folder / "hourly.py").write_text(HOURLY)
    for name in ("Eve", "Bob"):
        assert program("schedule", "report", name, "--every", "1h", "--app", "hourly:app")[0] == 0
    assert program("trigger", "report", "Bob", *STORE)[0] == 0
    code = "import hourly; hourly.app.main()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=place.folder, timeout=60)
    assert {each["check"] for each in lines(program("doctor", "--json", *STORE)[1])} >= {"instances"}
    with closing(sqlite3.connect(place.folder / "jobs.db", isolation_level=None)) as database:
        database.execute("UPDATE pyncette_tasks SET due_at = due_at - 10800000000, ready_at = ready_at - 10800000000")
    found = [each["found"] for each in lines(program("doctor", "--json", *STORE)[1]) if each["check"] == "late"]
    assert sorted(found) == ["cleanup has been due for 2 h", "report has instances that have been due for 2 h"]


def test_the_doctor_reports_findings_of_the_storage(failed: Program, place: Place) -> None:
    with closing(sqlite3.connect(place.folder / "jobs.db", isolation_level=None)) as database:
        database.execute("UPDATE pyncette_schema SET written_by = 2")
    findings = {each["check"]: each for each in lines(failed("doctor", "--json", *STORE)[1])}
    assert (findings["format"]["verdict"], "format 2" in findings["format"]["found"]) == ("warning", True)


def test_the_doctor_with_an_unreachable_storage(program: Program) -> None:
    status, out, err = program("doctor", "--json", "--store", "postgresql://me:hunter2@127.0.0.1:1/x")
    (finding,) = lines(out)
    assert (status, finding["check"], finding["verdict"], err) == (1, "connection", "problem", "")
    assert "hunter2" not in out


@pytest.mark.parametrize(
    "store, expected",
    [
        ("postgresql://", 'CREATE TABLE "pyncette_tasks"'),
        ("sqlite://", "CREATE TABLE"),
        ("mysql://", "CREATE TABLE"),
        ("dynamodb://", '"TableName": "pyncette_tasks"'),
    ],
)
def test_the_schema_is_printed_without_a_server(program: Program, store: str, expected: str) -> None:
    status, out, _ = program("schema", "print", "--store", store)
    assert status == 0
    assert expected in out


def test_a_storage_without_tables(program: Program) -> None:
    assert program("schema", "print", "--store", "redis://")[0] == 2


def test_the_status_of_the_schema(failed: Program) -> None:
    assert failed("schema", "status", *STORE)[0] == 0
    assert failed("schema", "status", "--store", "sqlite:///nothing.db")[0] == 3


@pytest.fixture
def piped(failed: Program, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """A function that calls the program with a text on standard input."""

    def call(text: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))
        return failed(*arguments, *STORE)

    return call


def test_names_from_standard_input(piped: Program) -> None:
    """One per line, together with other names, for each command that controls instances."""
    bob = "Bob\n\n"
    assert piped(bob, "pause", "report", "Eve", "-") == (0, "Paused 2 of 'report'.\n", "")
    assert piped("Bob", "resume", "report", "-") == (0, "Resumed 1 of 'report'.\n", "")
    assert piped(bob, "trigger", "report", "-")[1].startswith("'Bob' of 'report' will be executed once, as run ")
    assert piped("Eve\r\nBob\r\n", "retry", "report", "-") == (
        0,
        "'Eve' of 'report' gets fresh attempts.\n'Bob' of 'report' is not dead, and stays as it is.\n",
        "",
    )
    assert piped(bob, "unschedule", "report", "-")[0] == 2  # no terminal for the confirmation
    assert piped("Bob\nNob\n", "unschedule", "report", "-", "--yes") == (
        4,
        "Removed 1 of 'report'.\n",
        "'report' has no instance 'Nob'.\n",
    )


def test_no_names_on_standard_input_are_no_instances(piped: Program) -> None:
    """They never mean the whole task."""
    assert piped("", "pause", "report", "-") == (0, "Paused 0 of 'report'.\n", "")
    assert {line["paused_since"] for line in lines(piped("", "tasks", "--json")[1])} == {None}
    assert piped("", "retry", "report", "-") == (0, "", "")
    assert piped("", "trigger", "report", "-") == (0, "0 of 'report' will be executed once.\n", "")


def test_several_are_triggered_or_retried_and_missing_ones_reported(failed: Program) -> None:
    status, out, err = failed("trigger", "report", "Bob", "Nob", "Bob", "--arg", "n=1", *STORE)
    assert (status, out, err) == (
        4,
        "2 of 'report' will be executed once.\n",
        "'Nob': There is no instance 'report:Nob'.\n",
    )
    told = lines(failed("trigger", "report", "Bob", "Eve", "--json", *STORE)[1])
    assert [run["instance"] for run in told] == ["Bob", "Eve"]
    assert len({run["run_id"] for run in told}) == 2
    assert lines(failed("show", "report", "Bob", "--json", *STORE)[1])[0]["triggered"] == 3
    status, out, err = failed("retry", "report", "Nob", "Eve", *STORE)
    assert (status, out) == (4, "'Eve' of 'report' gets fresh attempts.\n")
    assert "'Nob'" in err


def test_a_static_task_has_no_instances_to_trigger(program: Program) -> None:
    status, _, err = program("trigger", "cleanup", "Ada", "--app", "tasks:app")
    assert (status, err.splitlines()[0]) == (2, "Error: 'cleanup' is a static task and has no instances.")
