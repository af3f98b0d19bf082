"""Other versions of Python: uv finds those installed, and the newest ones come from Debian's packages if necessary."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from devtool import uv
from devtool.environment import say
from devtool.layout import ROOT
from devtool.problem import Problem

OLDEST = (3, 11)
NEWEST = (3, 15)


def at_hand() -> dict[tuple[int, int], str]:
    """An interpreter of each version that the packages support, oldest first."""
    found = {sys.version_info[:2]: os.path.realpath(sys.executable)}
    for each in json.loads(uv.run("python", "list", "--only-installed", "--output-format=json")):
        version = (each["version_parts"]["major"], each["version_parts"]["minor"])
        standard = each["implementation"] == "cpython" and each["variant"] == "default"
        if standard and OLDEST <= version <= NEWEST:
            found.setdefault(version, each["path"])
    return dict(sorted(found.items()))


def choose(wanted: str | None) -> str:
    """The interpreter that the user names: a version, `oldest`, `newest`, or a path; None is the one that runs this.

    :raises Problem: when there is no such Python.
    """
    if wanted is None:
        return os.path.realpath(sys.executable)
    if wanted == "oldest":
        return next(iter(at_hand().values()))
    version = ".".join(map(str, NEWEST)) if wanted == "newest" else wanted
    try:
        return uv.run("python", "find", "--no-project", version).strip()
    except Problem as problem:
        if re.fullmatch(r"3\.1\d", version) and (path := _unpacked(version)):
            return path
        known = at_hand()
        if wanted == "newest":
            say(f"Python {version} can't be had here; this continues with the newest one that can.")
            return list(known.values())[-1]
        versions = ", ".join(f"{major}.{minor}" for major, minor in known)
        raise Problem(f"There is no Python {wanted} here; at hand: {versions}.") from problem


def _unpacked(version: str) -> str | None:
    """A Python from Debian's packages, which the test servers' cache keeps; None if they are not available."""
    command = [sys.executable, "-m", "tests.servers.pythons", version]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
