"""Clocks that are wrong: a library that is loaded before all others gives a process another time of day, which can be
set while it runs. The monotonic clock is left alone, as nobody can set it."""

from __future__ import annotations

from pathlib import Path

from tests.servers.trees import Tree

LIBRARY = Tree("faketime", "bookworm", ("libfaketime",))
"""It is loaded into this machine's Python, whose C library must be as new as Debian 12's."""


def prepare() -> None:
    """:raises tests.servers.cache.Unavailable: there is none for this machine."""
    _library()


def environment(file: Path) -> dict[str, str]:
    """Of a process whose clock goes by this file."""
    set_clock(file, 0)
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(file: Path, seconds: int) -> None:
    """This many seconds ahead of the true time from now on, or within a second."""
    new = file.with_suffix(".new")
    new.write_text(f"{seconds:+d}\n")
    new.replace(file)


def _library() -> Path:
    return LIBRARY.program("usr/lib/*/faketime/libfaketimeMT.so.1")
