"""The Lua scripts that do the work, each atomic on the server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server knows it: by the SHA-1 of its source."""

    name: str
    source: bytes = field(repr=False)
    sha: bytes


def _read(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _load(name: str, *, grows: bool = False) -> Script:
    """
    A script that makes the data grow is refused by a server that has reached its ``maxmemory``; the others go on, so
    that what is there is still executed, settled and deleted. None is flagged as reading only: a replica must refuse
    them all, since it may not have seen yet what was acknowledged.
    """
    shebang = "#!lua\n" if grows else "#!lua flags=allow-oom\n"
    source = (shebang + _read("common") + _read(name)).encode()
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


OPEN = _load("open", grows=True)
INSERT = _load("swap", grows=True)
SETTLE = _load("swap")
CLAIM = _load("claim")
COUNT = _load("count")
NEXT_READY = _load("next_ready")
READ = _load("read")
SCAN = _load("scan")
SCAN_READY = _load("scan_ready")

ALL = (OPEN, INSERT, SETTLE, CLAIM, COUNT, NEXT_READY, READ, SCAN, SCAN_READY)
