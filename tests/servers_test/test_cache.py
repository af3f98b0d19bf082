"""Sessions that share the cache do not disturb each other."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import cache
from tests.servers.process import Session

ROOT = Path(__file__).parents[2]
BUILDER = """
import sys, time
from pathlib import Path
from tests.servers.cache import build_once

def build(path):
    path.mkdir()
    with Path(sys.argv[2]).open("a") as builds:
        builds.write("built\\n")
    time.sleep(0.2)
    (path / "complete").touch()

assert (build_once(Path(sys.argv[1]), build) / "complete").exists()
"""


def test_one_of_several_processes_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    argv = [sys.executable, "-c", BUILDER, str(tmp_path / "tree"), str(tmp_path / "builds")]
    builders = [subprocess.Popen(argv, cwd=ROOT) for _ in range(4)]
    assert [builder.wait(120) for builder in builders] == [0] * 4
    assert (tmp_path / "builds").read_text() == "built\n"


def test_what_was_left_half_done_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(path: Path) -> None:
        path.mkdir()
        (path / "rubbish").touch()
        raise cache.Unavailable("the network is gone")

    with pytest.raises(cache.Unavailable):
        cache.build_once(tmp_path / "tree", fail)
    assert not (tmp_path / "tree").exists()
    cache.build_once(tmp_path / "tree", Path.mkdir)
    assert list((tmp_path / "tree").iterdir()) == []


def test_a_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert cache.folder() == Path.home() / ".cache/pyncette-test-servers"


def test_ports_are_given_once() -> None:
    sessions = [Session(), Session()]
    try:
        with ThreadPoolExecutor(8) as threads:
            ports = [job.result() for job in [threads.submit(each.free_port) for each in sessions * 50]]
        assert len(set(ports)) == len(ports)
    finally:
        for session in sessions:
            session.close()


def test_failing_command_says_what_it_said() -> None:
    assert reason("sh", "-c", "echo so far; echo too bad >&2; exit 1") == "sh failed: too bad"
    assert reason("sh", "-c", "echo E: the reason; echo more; exit 1") == "sh failed: E: the reason"
    assert reason("no-such-command") == "there is no no-such-command here"


def reason(*command: str) -> str:
    with pytest.raises(cache.Unavailable) as raised:
        cache.run(*command)
    return str(raised.value)
