"""The Lua scripts that do the work, each atomic on the server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files

from pyncette.migrations import Migration, Phase


@dataclass(frozen=True, slots=True)
class Script:
    """A script, which the server identifies by the SHA-1 of its source."""

    name: str
    source: bytes = field(repr=False)
    sha: bytes


def _read(*path: str) -> str:
    return files(__package__).joinpath(*path).read_text("utf-8")


def _load(name: str, *, grows: bool = False) -> Script:
    return _made(name, _read("lua", f"{name}.lua"), grows=grows)


def _made(name: str, body: str, *, grows: bool) -> Script:
    """
    A server that has reached its ``maxmemory`` refuses scripts that make the data grow. It still runs the others, so
    that existing records are executed, settled and deleted. No script is flagged as read-only, so that a replica
    refuses them all: it may lack writes that were acknowledged.
    """
    shebang = "#!lua\n" if grows else "#!lua flags=allow-oom\n"
    source = (shebang + _read("lua", "common.lua") + body).encode()
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


OPEN = _load("open")
REGISTER = _load("register")
INSERT = _load("swap", grows=True)
SETTLE = _load("swap")
CLAIM = _load("claim")
COUNT = _load("count")
LOOK = _load("look")
READ = _load("read")
SCAN = _load("scan")
SCAN_READY = _load("scan_ready")
RUNS = _load("runs")
PRUNE = _load("prune")

LOCK = _load("lock")
ADVANCE = _load("advance")

ALL = (OPEN, REGISTER, INSERT, SETTLE, CLAIM, COUNT, LOOK, READ, SCAN, SCAN_READY, RUNS, PRUNE)


def migration(step: Migration[str]) -> Script:
    """The script that applies a migration to a batch of records."""
    return _made(step.name, step.step, grows=step.phase is Phase.EXPAND)
