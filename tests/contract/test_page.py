"""docs/writing_a_backend.md: its example passes the suite, and it lists every test and flag."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyncette.testing import AppContract, Capabilities, RepositoryContract
from pyncette.testing.contract.base import contract_tests
from tests.matrix import is_of_apps, runs_on

PAGE = (Path(__file__).parents[2] / "docs" / "writing_a_backend.md").read_text()


def summary(docstring: str | None) -> str:
    return " ".join((docstring or "").split())


@pytest.mark.timeout(300)
def test_the_example_passes_the_suite(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL):
        (tmp_path / name).write_text(code)
    options = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", ".", "-o", "filterwarnings=error"]
    tests = {**contract_tests(RepositoryContract), **contract_tests(AppContract)}
    asked = ["test_file_backend.py"]
    if not pytestconfig.option.thorough:
        options += ["-k", "not trio"]
        tests = {name: test for name, test in tests.items() if not is_of_apps(name) or runs_on("TestFile", name)}
        asked = [f"test_file_backend.py::TestFile::{name}" for name in tests]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, *asked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.OK, run.stdout[-5000:] + run.stderr
    (count,) = re.findall(r"^(\d+) passed.* in [^,]*$", run.stdout, flags=re.MULTILINE)
    assert int(count) >= (2 if pytestconfig.option.thorough else 1) * len(tests)


def test_every_test_is_listed() -> None:
    """And the other way round: a test that is listed, but was deleted from the suite, fails here."""
    listed = dict(re.findall(r"^\| `(test_\w+)` \| (.*) \|$", PAGE, flags=re.MULTILINE))
    tests = contract_tests(RepositoryContract) | contract_tests(AppContract)
    assert listed == {name: summary(test.__doc__).replace("|", r"\|") for name, test in tests.items()}


@pytest.mark.parametrize("field", dataclasses.fields(Capabilities), ids=lambda field: field.name)
def test_every_flag_is_listed(field: dataclasses.Field[object]) -> None:
    assert f"| `{field.name}` | {field.default} |" in PAGE
