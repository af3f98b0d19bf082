"""With the app's code, the command line checks the arguments that a task declares."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Program = Callable[..., tuple[int, str, str]]

APP = ("--app", "typed_tasks:app")
TYPED = """
import uuid
from datetime import date, timedelta

from pyncette import Context, Pyncette, from_fixture

app = Pyncette("sqlite:///jobs.db", poll_interval=timedelta(milliseconds=50))


@app.fixture()
async def port(app_context):
    raise RuntimeError("a fixture is set up by what executes tasks alone")
    yield


@app.dynamic_task()
async def report(
    context: Context, user_id: int, number: uuid.UUID, since: date | None = None, port: int = from_fixture()
) -> None: ...
"""
NUMBER = "00000000-0000-0000-0000-000000000007"


@pytest.fixture
def typed(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    (tmp_path / "typed_tasks.py").write_text(TYPED)
    monkeypatch.delitem(sys.modules, "typed_tasks", raising=False)
    return program


def test_valid_arguments_are_accepted(typed: Program, tmp_path: Path) -> None:
    args = ("--arg", "user_id=5", "--arg", f"number={NUMBER}")
    assert typed("schedule", "report", "Ada", "--every", "1h", *args, *APP)[0] == 0
    everything = json.dumps({"user_id": 6, "number": NUMBER, "since": "2030-01-31"})
    assert typed("schedule", "report", "Bob", "--every", "1h", "--args", everything, *APP)[0] == 0
    assert typed("trigger", "report", "Bob", "--args", '{"user_id": 7}', *APP)[0] == 0
    exported = typed("export", "report", *APP)[1]
    stored = {fields["instance"]: fields["args"] for fields in map(json.loads, exported.splitlines())}
    assert stored == {"Ada": {"user_id": 5, "number": NUMBER}, "Bob": json.loads(everything)}
    (tmp_path / "exported.jsonl").write_text(exported)
    assert typed("unschedule", "report", "Ada", "Bob", "--yes", *APP)[0] == 0
    assert typed("import", "exported.jsonl", *APP)[0] == 0
    assert typed("export", "report", *APP)[1] == exported


@pytest.mark.parametrize(
    "args, problem",
    [
        ({"number": NUMBER}, "The task 'report' needs the argument 'user_id'"),
        ({"user_id": "5", "number": NUMBER}, "The argument user_id of 'report': it should be a valid integer, not str"),
        ({"user_id": 5, "number": NUMBER, "sinc": None}, "has no argument 'sinc': did you mean 'since'?"),
        ({"user_id": 5, "number": NUMBER, "port": 1}, "has no argument 'port': it declares number, since, user_id"),
    ],
)
def test_invalid_arguments_are_refused(typed: Program, tmp_path: Path, args: dict[str, object], problem: str) -> None:
    status, out, said = typed("schedule", "report", "Ada", "--every", "1h", "--args", json.dumps(args), *APP)
    assert (status, out) == (2, "")
    assert problem in said
    assert "Traceback" not in said
    fits = json.dumps({"user_id": 5, "number": NUMBER})
    assert typed("schedule", "report", "Bob", "--every", "1h", "--args", fits, *APP)[0] == 0
    status, out, said = typed("trigger", "report", "Bob", "--args", '{"user": 5}', *APP)
    assert status != 0
    assert "has no argument 'user'" in out + said
    exported = json.loads(typed("export", "report", *APP)[1])
    (tmp_path / "wanted.jsonl").write_text(json.dumps({**exported, "instance": "Eve", "args": args}))
    status, out, said = typed("import", "wanted.jsonl", *APP)
    assert status != 0
    assert problem in out + said
