"""The folder in the user's cache that all test sessions share, and the locks that keep them apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# How the programs that run here mark the line with the error, which is often followed by others.
ERROR = re.compile(r"^E: |\berror\b", re.IGNORECASE)


class Unavailable(Exception):
    """A server cannot be had on this machine; the message is one line that says why."""


def folder() -> Path:
    """Return the cache's root. `XDG_CACHE_HOME` moves it."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the XDG specification.
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "pyncette-test-servers"


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Lock the block for one thread of one process at a time, among all that share the cache."""
    locks = folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build_once(path: Path, build: Callable[[Path], None]) -> Path:
    """Return `path`; if it is not there, `build` makes it first.

    `build` is given a sibling of `path` that does not exist yet, which is renamed when it is complete:
    what a killed session left half done is never taken for whole.
    """
    if path.exists():
        return path
    with locked(f"{path.parent.name}-{path.name}"):
        if not path.exists():
            partial = path.with_name(path.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            build(partial)
            partial.rename(path)
    return path


def run(
    *argv: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> str:
    """Run a command and return its standard output.

    :raises Unavailable: there is no such command, or it failed.
    """
    command = [str(arg) for arg in argv]
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unavailable(f"there is no {name} here") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it said nothing"]
        reason = next((line for line in said if ERROR.search(line)), said[-1])
        error = Unavailable(f"{name} failed: {reason[:300]}")
        error.add_note("\n".join([" ".join(command), *said[-40:]]))
        raise error
    return done.stdout
