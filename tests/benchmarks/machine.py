"""The resource use of a server's processes, as Linux counts it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.model import Server
from tests.servers.process import Program


def cpu_of(server: Server | None) -> float:
    """Seconds of CPU that a server and its children have used so far, including those that have ended; 0 if unknown, as
    on another machine."""
    if server is None or not isinstance(server.control, Program):
        return 0.0
    own = str(server.control.pid)
    used = 0.0
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdigit() else ["", ""]
            if own in (folder.name, fields[1]):
                used += sum(_nanoseconds(thread) for thread in (folder / "task").iterdir()) / 1e9
            if own == folder.name:
                used += (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")  # children that have ended
        except OSError:  # it has ended
            continue
    return used


def _nanoseconds(thread: Path) -> int:
    return int((thread / "schedstat").read_text().split()[0])
