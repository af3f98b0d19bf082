"""Other Pythons than the one that runs this: uv finds them, or gets them where it can."""

from __future__ import annotations

import json
import os
import sys

from devtool import uv
from devtool.problem import Problem

OLDEST = (3, 11)
NEWEST = (3, 14)


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
    if wanted in {"oldest", "newest"}:
        return list(at_hand().values())[0 if wanted == "oldest" else -1]
    try:
        return uv.run("python", "find", "--no-project", wanted).strip()
    except Problem as problem:
        versions = ", ".join(f"{major}.{minor}" for major, minor in at_hand())
        raise Problem(f"There is no Python {wanted} here; at hand: {versions}.") from problem
