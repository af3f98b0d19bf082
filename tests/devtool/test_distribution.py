"""The distribution of tests over several processes, one of which dies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIES = "import os\ndef test_it_dies(): os._exit(3)\n"
WAITS = "import time\n" + "".join(f"def test_{n}(): time.sleep(0.05)\n" for n in range(20))


def run(folder: Path, files: dict[str, str]) -> str:
    """The output of pytest for these files, on two processes.

    :raises subprocess.TimeoutExpired: pytest hangs.
    """
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    options = ["-n2", "--dist=loadscope", "-p", "tests.distribution", "-p", "no:cacheprovider", "-q"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--import-mode=importlib"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout


@pytest.mark.parametrize(
    "files, passed",
    [
        ({"test_a.py": WAITS + DIES, "test_b.py": WAITS, "test_c.py": WAITS}, 60),
        ({"test_a.py": "def test_before(): pass\n" + DIES + WAITS}, 21),
        ({"tests/scenarios/test_a.py": WAITS + DIES, "tests/scenarios/test_b.py": "def test_last(): pass"}, 21),
    ],
    ids=["in the middle", "alone", "one by one"],
)
def test_a_process_that_dies_costs_one_test_and_no_end(tmp_path: Path, files: dict[str, str], passed: int) -> None:
    assert f"1 failed, {passed} passed" in run(tmp_path, files)
