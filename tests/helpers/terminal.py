"""Runs `pyncette` as an operator does: in a terminal of a certain width, or with its output in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAM = (sys.executable, "-m", "pyncette_cli")


@dataclass(frozen=True, slots=True)
class Screen:
    """The output of a program in a terminal, and its exit status."""

    text: str
    status: int

    @property
    def plain(self) -> str:
        """What is left on the screen in the end, without bold type and colours; progress bars are gone."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", self.text):
            if part == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif part == "\r":
                column = 0
            elif part == "\x1b[2K":
                lines[row] = ""
            elif part.startswith("\x1b") and part.endswith("A"):
                row -= int(part[2:-1] or 1)
            elif not part.startswith("\x1b"):
                lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + len(part) :]
                column += len(part)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with an app, and a database that is created with the first instance."""

    folder: Path
    program: tuple[str, ...] = PROGRAM

    def environ(self, **extra: str) -> dict[str, str]:
        left_out = ("PYNCETTE_", "PYTHON", "COVERAGE_", "COLUMNS", "LINES")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return {**kept, "TZ": "UTC", "TERM": "xterm-256color", "NO_COLOR": "1", **extra}

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the program with its output in a pipe."""
        return subprocess.run(
            [*self.program, *arguments],
            cwd=self.folder,
            env=self.environ(**extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def show(self, columns: int, *arguments: str, typed: str = "", **extra: str) -> Screen:
        """Run the program in a terminal of this width."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            [*self.program, *arguments],
            cwd=self.folder,
            env=self.environ(**extra),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        if typed:
            os.write(leader, typed.encode())
        try:
            text = b"".join(_read(leader)).decode().replace("\r\n", "\n")
            return Screen(text, process.wait(60))
        finally:
            process.kill()
            os.close(leader)


def _read(leader: int) -> Iterator[bytes]:
    while select.select([leader], [], [], 60)[0]:
        try:
            data = os.read(leader, 65_536)
        except OSError:  # the last process that had the terminal is gone
            return
        if not data:
            return
        yield data
