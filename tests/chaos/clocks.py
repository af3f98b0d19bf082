"""Wrong clocks: a preloaded library gives a process a different time of day, which can be set while it runs. The
monotonic clock stays as it is, as nobody can set it in reality."""

from __future__ import annotations

from pathlib import Path

from tests.servers.trees import Tree

LIBRARY = Tree("faketime", "bookworm", ("libfaketime",))
"""The library is loaded into this machine's Python, whose C library must be at least as new as Debian 12's."""


def prepare() -> None:
    """:raises tests.servers.cache.Unavailable: the library is not available for this machine."""
    _library()


def environment(file: Path) -> dict[str, str]:
    """The environment of a process whose clock this file controls."""
    set_clock(file, 0)
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(file: Path, seconds: int) -> None:
    """Set the clock to this many seconds ahead of the true time. It takes effect within a second."""
    new = file.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n")
    new.replace(file)


def _library() -> Path:
    return LIBRARY.program("usr/lib/*/faketime/libfaketimeMT.so.1")
