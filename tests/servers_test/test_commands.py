"""`python -m tests.servers`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.servers.cache import folder
from tests.servers.model import Server
from tests.servers.redis import command

ROOT = Path(__file__).parents[2]


class Run(Protocol):
    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program and return its outcome."""


@pytest.fixture
def run(tmp_path: Path, redis_server: Server) -> Iterator[Run]:
    """Return a way to run the program, with a keeper that is the test's own. The packages are there already."""
    assert redis_server
    own = tmp_path / "pyncette-test-servers"
    own.mkdir()
    if (folder() / "trees").exists():
        (own / "trees").symlink_to(folder() / "trees")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tests.servers", *arguments],
            cwd=ROOT,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("down")


def port(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return int(line.rpartition(":")[2].partition("/")[0])


def test_life_of_a_server(run: Run) -> None:
    started = port(run("up", "redis"))
    assert command(started, "SET", "key", "value") == "OK"
    assert port(run("up", "redis")) == port(run("status")) == started
    assert run("env").stdout == f"export PYNCETTE_TEST_REDIS_URL='redis://127.0.0.1:{started}/0'\n"
    before = command(started, "INFO", "server").splitlines()
    assert port(run("restart", "--kill", "redis")) == started
    after = command(started, "INFO", "server").splitlines()
    assert {line for line in before if line.startswith("process_id")} - set(after)
    assert command(started, "GET", "key") == "value"
    assert run("down").returncode == 0
    with pytest.raises(ConnectionRefusedError):
        command(started, "PING")


def test_nothing_runs(run: Run) -> None:
    assert run("status").returncode == 1
    assert run("down").returncode == 0


def test_unknown_kind(run: Run) -> None:
    done = run("up", "redsi")
    assert done.returncode == 2
    assert "there is no redsi; there are redis, redis-cluster," in done.stderr
