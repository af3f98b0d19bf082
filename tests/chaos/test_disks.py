"""A full disk: the command itself mounts a small one for itself and the server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .processes import ROOT


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite"])
def test_a_full_disk_costs_nothing(store: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = f"--store {store} --faults disk,operators --seed 2 --every 2 --seconds 5 --instances 50 --workers 2"
    command = [sys.executable, "-m", "tests.chaos", *options.split(), "--operators", "1", "--report", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 2 and "No disk can be filled here" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(report.read_text())
    assert told["faults"]["disk, full"] >= 1
    assert any(kind.startswith("storage Repository") for kind in told["troubles"]), told["troubles"]


@pytest.mark.parametrize(
    "store, faults, said",
    [
        ("redis", "kill,fire", "There is no fault 'fire': choose some of kill,"),
        ("sqlite", "kill,network", "sqlite can't have the fault 'network': a file has no server."),
    ],
)
def test_faults_that_are_none(store: str, faults: str, said: str) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--store", store, "--faults", faults]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
