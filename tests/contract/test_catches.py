"""Each broken store fails the tests of the suite that should catch it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.contract import (
    broken_claims,
    broken_clients,
    broken_holes,
    broken_lists,
    broken_runs,
    broken_writes,
    mutated,
)
from tests.contract.broken import Broken

pytestmark = pytest.mark.timeout(600)  # the first test waits for the whole run in the fixture

ROOT = Path(__file__).resolve().parents[2]
MODULES = (broken_writes, broken_lists, broken_claims, broken_runs, broken_holes, broken_clients, mutated)
CAUGHT = [
    (f"{module.__name__}.{joined.__name__}", test)
    for module in MODULES
    for joined in vars(module).values()
    if isinstance(joined, type) and issubclass(joined, Broken)
    for test in joined.caught_by
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[str]]:
    """The outcomes of the tests, which pytest runs in a separate process: the tags of the JUnit report by class and
    test."""
    report = tmp_path_factory.mktemp("report") / "report.xml"
    files = [f"{module.__name__.replace('.', '/')}.py" for module in MODULES]
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.contract.caught", f"--junitxml={report}"]
    command = [sys.executable, "-m", "pytest", *options, *files]
    # As in CI, where pytest prints the full difference of lists: that must not take minutes.
    environment = {**os.environ, "CI": "1"}
    run = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout[-3000:] + run.stderr[-3000:]
    cases = ElementTree.parse(report).iter("testcase")  # noqa: S314 - written by pytest a moment ago
    return {
        (case.get("classname", ""), case.get("name", "").partition("[")[0]): [part.tag for part in case]
        for case in cases
    }


@pytest.mark.parametrize(
    "joined, test", CAUGHT, ids=[f"{joined.rpartition('.Test')[2]}-{test}" for joined, test in CAUGHT]
)
def test_the_fault_is_caught(outcomes: dict[tuple[str, str], list[str]], joined: str, test: str) -> None:
    assert "failure" in outcomes[joined, test]
