"""Typical mistakes: one or two lines say what to write instead, and the exit status tells the kind of mistake."""

from collections.abc import Callable
from pathlib import Path

import pytest

Program = Callable[..., tuple[int, str, str]]

MISTAKES = [
    (("lst",), 2, "There is no command 'lst'.", "Did you mean 'list'?"),
    (("list",), 2, "Missing argument 'TASK'.", "pyncette list --help shows how it is called."),
    (("list", "report", "--stat", "dead"), 2, "No such option '--stat'.", ""),
    (("tasks",), 2, "Where are the tasks?", "PYNCETTE_STORE"),
    (("tasks", "--store", "jobs.db"), 2, "The repository URL has no scheme", ""),
    (("tasks", "--store", "redi://x"), 2, "No backend for 'redi' is installed", ""),
    (("tasks", "--store", "sqlite:///typo.db"), 3, "There is no file ", "absolute one four"),
    (("tasks", "--store", "sqlite:///jobs.db", "-o", "sqlite_tabel_name=x"), 2, "sqlite_tabel_name", ""),
    (("tasks", "--store", "redis://:hunter2@127.0.0.1:1/0"), 3, "can't be reached", ""),
    (("tasks", "--store", "postgresql://me:hunter2@127.0.0.1:1/x"), 3, "can't be reached", ""),
    (("tasks", "--store", "mysql://me:hunter2@127.0.0.1:1/x"), 3, "can't be used at the moment", ""),
    (("show", "repot", "Ada"), 4, "There is no task 'repot'.", "Did you mean 'report'?"),
    (("show", "xyz", "Ada"), 4, "There is no task 'xyz'.", "There is: report (a dynamic task is known once it has"),
    (("show", "report", "Eve"), 4, "no instance 'Eve'", ""),
    (("show", "report"), 2, "'report' has instances: name one of them.", "pyncette list report"),
    (("trigger", "cleanup", "--app", "tasks:app"), 4, "'cleanup' is not stored yet.", "once an app that declares it"),
    (("show", "cleanup", "--app", "tasks:app"), 4, "it is not stored", "once an app that declares it"),
    (("schedule", "report", "Eve", "--cron", "0 25 * * *"), 2, "25", ""),
    (("schedule", "report", "Eve", "--every", "5 parsecs"), 2, "is not a duration", ""),
    (("schedule", "report", "Eve", "--every", "5m", "--args", "{"), 2, "not JSON", ""),
    (("schedule", "report", "Eve"), 2, "Give one of these: --cron, --every, --at.", ""),
    (("schedule", "report", "Eve", "--cron", "0 8 * * *", "--every", "5m"), 2, "Give one of these: --cron", ""),
    (("next", "0", "8", "*", "*", "*"), 2, "The expression came in several parts.", 'Quote it: pyncette next "0 8'),
    (("run", "tasks.py"), 2, "'tasks.py' is a file. Write the module: tasks:app", ""),
    (("run", "nowhere:app"), 2, "There is no module 'nowhere'.", "It is looked for in"),
    (("run", "tasks:application"), 2, "The module 'tasks' has no 'application'.", "Did you mean tasks:app?"),
    (("run", "tasks:make_app"), 2, "tasks:make_app is a function, not an app.", "write 'tasks:make_app()'"),
    (("run", "inside:app"), 2, "The module 'inside' has no 'app'.", "at the top level of the module"),
    (("run", "broken"), 1, "Importing 'broken' failed: KeyError: 'HOST' (broken.py, line 3)", "--debug"),
    (("run", "needs:app"), 1, "Importing 'needs' failed: ModuleNotFoundError: No module named 'not_there'", "--debug"),
]


@pytest.mark.parametrize(
    "arguments, status, first, second", MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_mistake(
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    first: str,
    second: str,
) -> None:
    assert program("schedule", "report", "Ada", "--every", "1h", "--app", "tasks:app")[0] == 0
    (tmp_path / "inside.py").write_text("from pyncette import Pyncette\n\n\ndef main():\n    inner = Pyncette()\n")
    (tmp_path / "broken.py").write_text("import os\n\nHOST = os.environ['HOST']\n")
    (tmp_path / "needs.py").write_text("import not_there\n")
    monkeypatch.delenv("HOST", raising=False)
    if arguments[0] in ("show", "schedule"):
        arguments = (*arguments, "--store", "sqlite:///jobs.db")
    got, out, err = program(*arguments)
    assert (got, out) == (status, ""), err
    said = err.splitlines()
    assert len(said) <= 2, err
    assert said[0].startswith("Error: ")
    assert first in said[0]
    assert second in err
    assert "hunter2" not in err


@pytest.mark.parametrize("arguments, expected", [((), "Look:"), (("schema",), "upgrade")])
def test_without_a_command_there_is_help(program: Program, arguments: tuple[str, ...], expected: str) -> None:
    status, out, err = program(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("Usage: pyncette")
    assert expected in err
    assert "Error" not in err


def test_debug_shows_the_traceback(program: Program, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        program("tasks", "--debug", "--app", "broken")
