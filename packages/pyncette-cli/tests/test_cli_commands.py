"""The effects of the commands, on their output and on the storage."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.helpers.terminal import Place

Program = Callable[..., tuple[int, str, str]]

STORE = ("--store", "sqlite:///jobs.db")
APP = ("--app", "tasks:app")


@pytest.fixture
def filled(program: Program) -> Program:
    """Two instances of a task."""
    assert program("schedule", "report", "Ada", "--cron", "0 8 * * *", "--timezone", "Europe/London", *APP)[0] == 0
    assert program("schedule", "report", "Bob", "--every", "90m", "--arg", "user=7", "--arg", "text=tea", *APP)[0] == 0
    return program


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_instance_is_scheduled_listed_and_shown_without_the_code(filled: Program) -> None:
    status, out, err = filled("list", "report", "--json", *STORE)
    assert (status, err) == (0, "")
    ada, bob = lines(out)
    assert (ada["instance"], ada["schedule"], ada["timezone"]) == ("Ada", "0 8 * * *", "Europe/London")
    assert ada["args"] == {"greeting": "Hello"}  # the app's defaults
    assert (bob["interval"], bob["args"]) == (5400.0, {"greeting": "Hello", "user": 7, "text": "tea"})
    status, out, _ = filled("show", "report", "Bob", "--json", *STORE)
    assert (status, lines(out)) == (0, [bob])
    status, out, _ = filled("show", "report", "Ada", *STORE)
    assert "Europe/London" in out


def test_the_fixtures_of_the_app_are_left_alone(filled: Program) -> None:
    """The fixture of this app raises."""
    assert filled("tasks", *APP)[0] == 0


def test_environment_variables_name_storage_and_app(filled: Program) -> None:
    assert filled("count", "report", environ={"PYNCETTE_STORE": "sqlite:///jobs.db"}) == (0, "2\n", "")
    _, out, _ = filled("tasks", "--json", environ={"PYNCETTE_APP": "tasks:app"})
    assert [each["task"] for each in lines(out) if each["declared"]] == ["cleanup", "reminder", "report"]
    assert filled("count", "report", "--store", "sqlite:///other.db")[0] == 3  # an option takes precedence


def test_existing_instances_are_updated_kept_or_refused(filled: Program) -> None:
    again = ("schedule", "report", "Ada", "--every", "1h", *STORE)
    status, out, err = filled(*again, "--if-exists", "error")
    assert (status, out) == (1, "")
    assert err.startswith("Error: 'report' has an instance 'Ada' already.")
    assert filled(*again, "--if-exists", "keep")[1].startswith("Kept as it was: 'Ada'")
    assert lines(filled(*again, "--json")[1])[0]["scheduling"] == "updated"
    assert lines(filled("show", "report", "Ada", "--json", *STORE)[1])[0]["interval"] == 3600.0


def test_removing_instances_needs_confirmation(filled: Program) -> None:
    status, _, err = filled("unschedule", "report", "Ada", *STORE)
    assert status == 2
    assert "--yes" in err
    status, out, err = filled("unschedule", "report", "Ada", "Nob", "--yes", *STORE)
    assert (status, out, err) == (4, "Removed 1 of 'report'.\n", "'report' has no instance 'Nob'.\n")
    assert filled("count", *STORE)[1].split() == ["TASK", "INSTANCES", "report", "1"]


def test_a_task_is_paused_and_resumed(filled: Program) -> None:
    assert filled("pause", "report", "--reason", "server moves", *STORE)[0] == 0
    (task,) = lines(filled("tasks", "--json", *STORE)[1])
    assert (task["paused_reason"], task["paused_since"] is not None) == ("server moves", True)
    assert {each["state"] for each in lines(filled("list", "report", "--json", *STORE)[1])} == {"paused"}
    assert filled("resume", "report", "--catch-up", *STORE)[0] == 0
    assert {each["state"] for each in lines(filled("list", "report", "--json", *STORE)[1])} == {"waiting"}


def test_filters_and_pages(filled: Program) -> None:
    for number in range(5):
        filled("schedule", "reminder", f"eu-{number}", "--every", "1h", *APP)
    status, out, err = filled("list", "reminder", "--limit", "3", "--json", *STORE)
    assert (status, len(lines(out)), err) == (0, 3, "")
    assert "--limit or --all" in filled("list", "reminder", "--limit", "3", *STORE)[2]
    assert len(lines(filled("list", "reminder", "--all", "--json", *STORE)[1])) == 5
    names = [each["instance"] for each in lines(filled("list", "reminder", "--prefix", "eu-3", "--json", *STORE)[1])]
    assert names == ["eu-3"]
    assert lines(filled("list", "reminder", "--due-before", "+30m", "--json", *STORE)[1]) == []
    assert len(lines(filled("list", "reminder", "--due-before", "+90m", "--json", *STORE)[1])) == 5
    assert filled("list", "reminder", "--state", "dead", *STORE) == (0, "", "None.\n")
    assert filled("list", "reminder", "--state", "dead", "--prefix", "x", *STORE)[0] == 2


def test_orphans_are_purged(filled: Program) -> None:
    assert [each["task"] for each in lines(filled("orphans", "--json", *STORE)[1])] == ["report"]
    status, _, err = filled("purge", "report", "--yes", *APP)  # this app declares it
    assert (status, err.splitlines()[0]) == (
        1,
        "Error: 'report' is not an orphan: a worker executes it, or the app declares it.",
    )
    assert filled("purge", "report", "--dry-run", *STORE) == (0, "2 records of 'report' would be removed.\n", "")
    assert filled("purge", "report", "--yes", *STORE) == (0, "Removed 2 of 'report'.\n", "")
    assert filled("purge", "report", "--yes", *STORE)[0] == 4


def test_instances_from_before_a_task_was_partitioned(filled: Program, place: Place) -> None:
    """Old instances can be exported, imported into the partitioned task, and purged."""
    code = (place.folder / "tasks.py").read_text()
    (place.folder / "later.py").write_text(
        code.replace('dynamic_task(greeting="Hello")', 'partitioned_task(partition_count=2, greeting="Hello")')
    )
    later = ("--app", "later:app")
    assert [(each["task"], each["kind"]) for each in lines(filled("orphans", "--json", *later)[1])] == [
        ("report", "dynamic")
    ]
    assert filled("list", "report", "--json", *later)[1] == ""
    assert len(lines(filled("list", "report", "--kind", "dynamic", "--json", *later)[1])) == 2
    assert filled("export", "report", "--kind", "dynamic", "-f", "left.jsonl", *later)[0] == 0
    assert filled("import", "left.jsonl", *later)[0] == 0
    for command in ("list", "count", "pause"):  # the name is ambiguous
        status, _, err = filled(command, "report", *STORE)
        assert (status, err.splitlines()[0]) == (
            2,
            "Error: There are several tasks 'report': it is dynamic and partitioned.",
        )
    assert filled("count", "--json", *STORE)[1].count('"count": 2') == 2
    status, _, err = filled("list", "report", "--kind", "static", *STORE)
    assert (status, err) == (4, "Error: 'report' is not static, but dynamic and partitioned.\n")
    assert filled("purge", "report", "--yes", "--kind", "partitioned", *later)[0] == 1
    assert filled("purge", "report", "--dry-run", "--kind", "dynamic", *STORE)[1] == (
        "2 records of 'report' would be removed.\n"
    )
    assert filled("purge", "report", "--dry-run", *STORE)[1] == "4 records of 'report' would be removed.\n"
    assert filled("purge", "report", "--yes", "--kind", "dynamic", *STORE) == (0, "Removed 2 of 'report'.\n", "")
    assert filled("count", "report", *STORE) == (0, "2\n", "")


def test_a_backfill_of_past_moments(filled: Program) -> None:
    january = ("backfill", "report", "Ada", "--from", "2026-01-01", "--until", "2026-01-03T12:00")
    told = "3 moments (2026-01-01 08:00:00 to 2026-01-03 08:00:00) of 'Ada' of 'report'"
    assert filled(*january, "--dry-run", *STORE) == (0, f"{told} would be executed.\n", "")
    status, _, err = filled(*january, *STORE)
    assert (status, "give --yes" in err) == (2, True)
    assert filled(*january, "--id", "january", "--yes", *STORE) == (
        0,
        f"{told} will be executed, as backfill january.\n",
        "",
    )
    (fill,) = lines(filled("backfill", "report", "Ada", "--list", "--json", *STORE)[1])
    assert (fill["id"], fill["next_at"], fill["done"], fill["total"]) == ("january", "2026-01-01T08:00:00Z", 0, 3)
    assert filled("backfill", "report", "Ada", "--list", *STORE)[1].split() == (
        ["BACKFILL", "DONE", "NEXT", "LAST", "january", "0/3", "2026-01-01", "08:00:00", "2026-01-03", "08:00:00"]
    )
    cancel = ("backfill", "report", "Ada", "--cancel", "january", *STORE)
    assert filled(*cancel)[0] == 0
    assert filled(*cancel)[0] == 4
    assert filled("backfill", "report", "Ada", "--list", *STORE) == (0, "", "None.\n")


def test_a_backfill_with_nothing_to_do(filled: Program) -> None:
    status, out, _ = filled("backfill", "report", "Ada", "--from", "+1h", "--until", "+2h", *STORE)
    assert (status, "nothing to execute" in out) == (0, True)
    assert filled("backfill", "report", "--from", "2026-01-01", *STORE)[0] == 2  # no instance is named
    assert filled("backfill", "report", "Ada", *STORE)[0] == 2
    assert filled("backfill", "report", "Ada", "--from", "+2h", "--until", "+1h", *STORE)[0] == 2
    assert filled("backfill", "report", "Nob", "--from", "2026-01-01", *STORE)[0] == 4


def test_next_occurrences_are_recomputed(filled: Program, place: Place) -> None:
    with sqlite3.connect(place.folder / "jobs.db") as database:  # as computed with the timezone rules of another year
        database.execute("UPDATE pyncette_tasks SET due_at = due_at + 3600000000, ready_at = ready_at + 3600000000")
    database.close()
    assert filled("recompute", "--dry-run", *STORE) == (0, "report: 1 would be moved.\n", "")
    assert lines(filled("recompute", "report", "--json", *STORE)[1]) == [
        {"task": "report", "moved": 1, "dry_run": False}
    ]
    assert filled("recompute", *STORE) == (0, "report: 0 moved.\n", "")
    assert filled("recompute", "repot", *STORE)[0] == 4


def test_the_exit_status_without_workers(filled: Program) -> None:
    assert filled("workers", *STORE) == (1, "", "No worker is at work.\n")


def test_names_can_not_control_the_terminal(program: Program) -> None:
    program("schedule", "report", "\x1b[2Jred[bold]", "--every", "1h", *APP)
    _, out, _ = program("list", "report", *STORE)
    assert "\x1b" not in out
    assert "\\x1b[2Jred[bold]" in out


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2027-03-27T12:00"), "clocks go forward here"),
        (
            ("30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2027-10-30T12:00"),
            "comes twice; this is the first",
        ),
        (("0 * * * *", "--timezone", "Europe/Berlin", "--after", "2027-10-31T00:30"), "this is the second"),
        (("0 9 * * 1", "--timezone", "Europe/Berlin", "--after", "2027-03-16"), "clocks went forward 1 h since"),
        (("0 0 1 1 * 30",), "At 00:00:30, on day 1 of the month, only in January"),
        (("--every", "90m"), "Every 1 h 30 min"),
    ],
)
def test_next_shows_changes_of_clocks_and_describes_the_schedule(
    program: Program, arguments: tuple[str, ...], expected: str
) -> None:
    status, out, _ = program("next", *arguments)
    assert status == 0
    assert expected in out, out


def test_next_of_a_stored_instance(filled: Program) -> None:
    _, shown, _ = filled("show", "report", "Bob", "--json", *STORE)
    status, out, _ = filled("next", "--task", "report", "--instance", "Bob", "-n", "3", "--json", *STORE)
    assert status == 0
    assert lines(out)[0]["at"] == lines(shown)[0]["scheduled_at"]
    assert len(lines(out)) == 3


def test_next_says_that_it_is_paused(filled: Program) -> None:
    preview = ("next", "--task", "report", "--instance", "Bob", *STORE)
    assert "Paused" not in filled(*preview)[1]
    for names in [(), ("Bob",)]:  # the template, then the instance
        filled("pause", "report", *names, *STORE)
        assert filled(*preview)[1].splitlines()[1] == "Paused: nothing is executed until it is resumed."
        if not names:
            filled("resume", "report", *STORE)
    assert len(lines(filled(*preview, "--json")[1])) == 5, "nothing but JSON"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(place: Place, shell: str) -> None:
    """The answers to a shell's completion script: commands and options with their help."""
    script = place.run("completion", shell)
    assert (script.returncode, f"_PYNCETTE_COMPLETE={shell}_complete" in script.stdout) == (0, True)
    asked = {"_PYNCETTE_COMPLETE": f"{shell}_complete", "COMP_WORDS": "pyncette re", "COMP_CWORD": "1"}
    if shell == "fish":
        asked["COMP_CWORD"] = "re"
    answer = place.run(**asked).stdout
    assert all(name in answer for name in ("resume", "retry", "recompute")), answer
    assert "tasks" not in answer
    assert shell == "bash" or "Resume what is paused." in answer


def test_completion_after_names_from_standard_input(place: Place) -> None:
    """Standard input is not read, because it is the user's terminal."""
    asked = {"_PYNCETTE_COMPLETE": "bash_complete", "COMP_WORDS": "pyncette pause report - --rea", "COMP_CWORD": "4"}
    assert place.show(80, **asked).plain == "plain,--reason\n"


def test_completion_in_bash(place: Place) -> None:
    """Runs the completion script itself."""
    program = place.folder / "pyncette"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pyncette_cli "$@"\n')
    program.chmod(0o755)
    code = """
    eval "$(pyncette completion bash)"
    COMP_WORDS=(pyncette next --time) COMP_CWORD=2
    _pyncette_completion pyncette
    echo ${COMPREPLY[@]}
    """
    environ = place.environ(PATH=f"{place.folder}:{os.defpath}")
    argv = ["bash", "--norc", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, env=environ, cwd=place.folder, check=False)
    assert (done.stdout, done.stderr) == ("--timezone\n", "")
