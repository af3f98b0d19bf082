"""Validators accept the files that the deployment page asks users to copy. `./dev docs` installs the validators."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT

pytest.importorskip("kubernetes_validate", reason="./dev docs installs it, and runs this")

FOLDER = ROOT / "docs" / "deployment"


def run(program: str, *arguments: str) -> None:
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubernetes() -> None:
    run("kubernetes-validate", "--strict", "kubernetes.yaml")


def test_dockerfile() -> None:
    run("hadolint", "Dockerfile")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="a program of systemd, which other systems lack")
def test_systemd(tmp_path: Path) -> None:
    unit = (FOLDER / "pyncette.service").read_text().replace("/srv/scheduler/.venv/bin/python", sys.executable)
    (tmp_path / "pyncette.service").write_text(unit)
    command = ["systemd-analyze", "verify", str(tmp_path / "pyncette.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
