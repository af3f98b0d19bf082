"""Finds the Python interpreters of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from devtool.problem import Problem

OLDEST = (3, 11)
NEWEST = (3, 14)
PROBE = "import sys; print(*sys.version_info[:2], sys.implementation.name)"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython that runs: its path, and its version as (major, minor)."""

    path: str
    version: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


def probe(path: str | Path) -> Interpreter | None:
    """The interpreter at a path, None if there is no CPython that runs."""
    try:
        done = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor, implementation = done.stdout.split()
    return Interpreter(str(path), (int(major), int(minor))) if implementation == "cpython" else None


def this() -> Interpreter:
    return Interpreter(sys.executable, sys.version_info[:2])


def find_all() -> list[Interpreter]:
    """One for each version that the packages support, oldest first: the one that runs this, the path's, pyenv's."""
    found = {this().version: this()}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for minor in range(OLDEST[1], NEWEST[1] + 1):
        for candidate in (shutil.which(f"python3.{minor}"), *pyenv.glob(f"3.{minor}.*/bin/python")):
            interpreter = probe(candidate) if candidate and (3, minor) not in found else None
            if interpreter and interpreter.version == (3, minor):
                found[3, minor] = interpreter
    return [found[version] for version in sorted(found)]


def choose(wanted: str | None) -> Interpreter:
    """The interpreter that the user names: a version, `oldest`, `newest`, or a path; None is the one that runs this.

    :raises Problem: when there is no such Python, or it is too old.
    """
    if wanted is None:
        return this()
    if wanted in {"oldest", "newest"}:
        return find_all()[0 if wanted == "oldest" else -1]
    if re.fullmatch(r"3\.\d+", wanted):
        every = find_all()
        for interpreter in every:
            if str(interpreter) == wanted:
                return interpreter
        raise Problem(f"There is no Python {wanted} here; at hand: {', '.join(map(str, every))}.")
    named = probe(shutil.which(wanted) or wanted)
    if named is None:
        raise Problem(f"{wanted} is not a CPython that runs; give a version such as 3.12, or a path.")
    if named.version < OLDEST:
        raise Problem(f"{wanted} is Python {named}; Pyncette needs 3.11 or newer.")
    return named
