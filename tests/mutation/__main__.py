"""Mutation testing of one of core's pure modules.

    pip install -r tests/mutation/requirements.txt
    python -m tests.mutation lease
    python -m tests.mutation lease 1              # one process
    python -m tests.mutation lifecycle.end 1      # one of several files

works on a copy of core, and fails if a mutant survives that `survivors.json` does not list with its reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "packages" / "pyncette-core"
TESTS = {  # from the fastest to the slowest, as the run ends with the first test that fails
    "lease": ("pyncette/lease.py", ["test_lease.py", "test_lease_fields.py"]),
    "shares": ("pyncette/_leases/shares.py", ["test_shares.py"]),
    "agenda": ("pyncette/_loop/agenda.py", ["test_agenda.py"]),
    "lifecycle": (
        "pyncette/_lifecycle/*.py",
        [
            "test_static_decisions.py",
            "test_ends.py",
            "test_again.py",
            "test_begins.py",
            "test_scheduling_decisions.py",
            "test_log_lines.py",
            "test_cutting.py",
            "test_steering.py",
            "test_backfills.py",
            "test_at_most_once.py",
            "test_missed.py",
            "test_rare_decisions.py",
            "test_extra_runs.py",
            "test_lifecycle.py",
            "test_moments.py",
            "test_model.py",
        ],
    ),
    "writer": ("pyncette/_leases/writer.py", ["test_writer.py", "test_writer_answers.py", "test_writer_attempts.py"]),
    "held": ("pyncette/_leases/held.py", ["test_held.py", "test_lease_writes.py"]),
    "poller": ("pyncette/_loop/poller.py", ["test_poller_passes.py", "test_poller.py"]),
}
CONFTEST = """
import os

import pytest
from hypothesis import HealthCheck, Phase, settings

TESTS = {tests}


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: TESTS.index(item.path.name))
    # With a mutant only: while the tool looks which test runs which function, all of them take several times as long.
    if "__mutmut_" in os.environ.get("MUTANT_UNDER_TEST", ""):
        for item in items:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(5, method="thread"))


def pytest_exception_interact():
    # The first failure says enough, and what is torn down after it may hang: pytest-timeout has ended its watch.
    if "__mutmut_" in os.environ.get("MUTANT_UNDER_TEST", ""):
        os._exit(1)


settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    max_examples=20,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("mutation")
"""
SETTINGS = """
[mutmut]
use_git_change_detection=false
source_paths=
    src/
only_mutate=
    src/{path}
pytest_add_cli_args=
    --import-mode=importlib
    --tb=native
    -o
    anyio_mode=auto
pytest_add_cli_args_test_selection=
    {tests}
"""
FEW = {"PYNCETTE_MODEL_EXAMPLES": "50", "PYNCETTE_MODEL_LIVES": "100"}
"""The number of examples of the model tests for each mutant."""

ALIVE = ("survived", "no tests", "suspicious")


def main(module: str, processes: str = "2") -> int:
    name, _, part = module.partition(".")
    path, tests = TESTS[name]
    if part:
        path = path.replace("*", part)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(CORE / "src", copy / "src")
        (copy / "tests").mkdir()
        for test in tests:
            shutil.copy(CORE / "tests" / test, copy / "tests")
        shutil.copy(HERE.parent / "running.py", copy / "tests")
        shutil.copytree(HERE.parent / "helpers", copy / "tests" / "helpers")
        (copy / "tests" / "conftest.py").write_text(CONFTEST.format(tests=tests))
        selected = "\n    ".join(f"tests/{test}" for test in tests)
        (copy / "setup.cfg").write_text(SETTINGS.format(path=path, tests=selected))
        subprocess.run(["mutmut", "run", "--max-children", processes], cwd=copy, check=True, env=os.environ | FEW)
        listed = subprocess.run(["mutmut", "results"], cwd=copy, check=True, capture_output=True, text=True).stdout
        results = dict(line.strip().split(": ") for line in listed.splitlines() if ": " in line)
        alive = [name for name, result in results.items() if result in ALIVE]
        known = json.loads((HERE / "survivors.json").read_text(encoding="utf-8"))
        unknown = [name for name in alive if name not in known]
        for name in unknown:
            subprocess.run(["mutmut", "show", name], cwd=copy, check=True)
    print(f"{module}: {len(alive)} survive, {len(unknown)} of them without a reason")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
