"""The backend in ``examples/etcd_backend``, installed as users would do, passes its own tests on a real etcd."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import pytest

from pyncette.testing import RepositoryContract
from pyncette.testing.contract.base import contract_tests
from tests.servers.model import Server

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "etcd_backend"
SHARE = 3
"""Without ``--thorough``, one in this many tests of the repository contract, on asyncio only. All run every night."""


def short() -> list[str]:
    """Arguments for pytest that select these tests, and the distribution's own."""
    left_out = [name for name in contract_tests(RepositoryContract) if zlib.crc32(name.encode()) % SHARE]
    return [
        "-k",
        "not trio and not TestApps",
        *(f"--deselect=tests/test_contract.py::TestRepository::{name}" for name in left_out),
    ]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that makes Python see the distribution with its entry points: what its installation would write."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / f"pyncette_etcd-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [f"{name} = {value}" for name, value in project["entry-points"]["pyncette.backends"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pyncette.backends]", *points, ""]))
    return tmp_path


@pytest.mark.timeout(1500)  # --thorough
def test_it_passes_its_own_tests(installed: Path, etcd_server: Server, pytestconfig: pytest.Config) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=error"]
    environment = {
        **os.environ,
        "ETCD_URL": etcd_server.url,
        "QUICK": "" if pytestconfig.option.thorough else "1",
        "PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]),
    }
    run = subprocess.run(
        [*command, *([] if pytestconfig.option.thorough else short())],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1400,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.OK, run.stdout[-5000:] + run.stderr
    assert re.search(r"^\d{2,} passed", run.stdout, flags=re.MULTILINE)
