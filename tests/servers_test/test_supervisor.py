"""Nothing is left behind, however a session ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.servers.process import Session
from tests.servers.providers import PROVIDERS

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 20.0
TEST = """
import os, signal, time
from pathlib import Path

def test_inner(redis_server, postgres_server, start_server):
    with start_server("redis") as other:
        other.pause()
        Path({started!r}).touch()
        {end}
"""
ENDS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    # The child keeps open what it inherits, the pipe to the supervisor too.
    "killed but for a child": "os.fork() and os.kill(os.getpid(), signal.SIGKILL); time.sleep(40); os._exit(0)",
    "interrupted": "os.kill(os.getpid(), signal.SIGINT)",
    "terminated": "os.kill(os.getpid(), signal.SIGTERM)",
    "failed": "assert False",
    "passed": "pass",
}


def servers_below(folder: Path) -> dict[int, str]:
    """Return the command lines of all processes that know a folder, or work in it, by their numbers."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                working = os.readlink(entry / "cwd")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended, or is not ours
                continue
            if f"{folder}/" in f"{working} {command}":
                found[int(entry.name)] = command
    return found


@pytest.mark.parametrize("end", ENDS)
def test_all_is_gone(end: str, tmp_path: Path) -> None:
    scratch, started, module = tmp_path / "scratch", tmp_path / "started", tmp_path / "test_inner.py"
    scratch.mkdir()
    module.write_text(TEST.format(started=str(started), end=ENDS[end]))
    pytest_ = [sys.executable, "-m", "pytest", f"--rootdir={ROOT}", "-p", "tests.servers.plugin", str(module)]
    with (tmp_path / "output").open("w+") as output:
        subprocess.run(
            pytest_,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=output,
            stderr=output,
            timeout=60,
            check=False,
        )
        assert started.exists(), Path(output.name).read_text()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (left := servers_below(scratch)) or any(scratch.iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    for child in servers_below(tmp_path):
        os.kill(child, 9)


@pytest.mark.usefixtures("redis_server")  # so that what it needs is in the cache
def test_servers_end_with_a_killed_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    session = Session()
    PROVIDERS["redis"].start(session)
    assert len(servers_below(tmp_path)) == 2
    session._supervisor.kill()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while left := servers_below(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    session.close()


def test_processes_are_seen(tmp_path: Path) -> None:
    """What the other test wants to be gone would be found."""
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        assert process.pid in servers_below(tmp_path.parent)
        process.kill()
