"""A small disk to fill up: a file system in memory that only this process and its children see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MEGABYTES = 768
VARIABLE = "PYNCETTE_CHAOS_DISK"
WAYS = (("unshare", "--mount"), ("unshare", "--user", "--map-root-user", "--mount"))
MOUNT = f'mount -t tmpfs -o size={MEGABYTES}m,mode=700 tmpfs "$0" && exec "$@"'
BALLAST = "ballast"


def mounted() -> Path | None:
    """The small disk, if this process has one."""
    return Path(os.environ[VARIABLE]) if VARIABLE in os.environ else None


def with_small_disk(command: Sequence[str]) -> int:
    """Run a command with a small disk, and return its exit status.

    :raises ValueError: a small disk can't be created here.
    """
    for way in WAYS:
        with tempfile.TemporaryDirectory() as place:
            mount = [*way, "sh", "-c", MOUNT, place]
            if subprocess.run([*mount, "true"], check=False, capture_output=True).returncode == 0:
                with subprocess.Popen([*mount, *command], env={**os.environ, VARIABLE: place}) as process:
                    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
                    return process.wait()
    raise ValueError("No disk can be filled here: this user may neither mount a file system nor make a namespace.")


def fill(disk: Path) -> None:
    """Fill the disk completely."""
    with (disk / BALLAST).open("ab") as ballast:
        while free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize:
            try:
                os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), free)
            except OSError:  # another process has used some of the space in the meantime
                continue


def clear(disk: Path) -> None:
    """Free the space again."""
    (disk / BALLAST).unlink(missing_ok=True)


def again() -> list[str]:
    """The command that started this process."""
    return [sys.executable, "-m", "tests.chaos", *sys.argv[1:]]
