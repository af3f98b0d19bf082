"""A virtual environment in the checkout, filled once and again only when what it is made from changed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtool.layout import LOCK, PACKAGES, ROOT
from devtool.problem import Problem

OFFLINE = re.compile(
    r"name resolution|Failed to establish|Connection|Network is unreachable|timed out|ProxyError|getaddrinfo",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment made by `python`, holding versions from `constraints` (None: the newest)."""

    folder: Path
    python: str = os.path.realpath(sys.executable)  # never the environment's own
    constraints: Path | None = LOCK

    @property
    def interpreter(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def stamp(self) -> Path:
        return self.folder / "devtool.json"

    def prepare(self, editables: Iterable[str], requirements: Iterable[str]) -> None:
        """Makes sure that our own distributions `editables` and other `requirements` are installed.

        :raises Problem: when the environment can't be made or filled.
        """
        wanted = {f"-e {package}" for package in editables} | set(requirements)
        origin = self._origin()
        if wanted <= self._installed(origin):
            return
        with self._alone():
            present = self._installed(origin)
            if wanted <= present:
                return
            started = time.monotonic()
            say(f"Setting up {display(self.folder)} ...")
            self._create()
            self._install(sorted(wanted | present))
            stamp = {"python": self.python, "origin": origin, "installed": sorted(wanted | present)}
            self.stamp.write_text(json.dumps(stamp))
            say(f"Ready after {time.monotonic() - started:.0f} s.")

    def run(self, *arguments: str) -> int:
        """Runs the environment's Python in the repository's root; its exit status."""
        return subprocess.run([self.interpreter, *arguments], cwd=ROOT, check=False).returncode

    def _origin(self) -> str:
        """A digest of all that decides what an installation holds."""
        digest = hashlib.sha256(self.python.encode())
        sources = [ROOT / "pyproject.toml", *sorted(PACKAGES.glob("*/pyproject.toml")), Path(__file__)]
        for path in [*sources, *([self.constraints] if self.constraints else [])]:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _read_stamp(self) -> dict[str, Any]:
        """What the last successful installation left; nothing if there is none, or not of this Python."""
        try:
            stamp: dict[str, Any] = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return {}
        return stamp if stamp.get("python") == self.python and os.access(self.interpreter, os.X_OK) else {}

    def _installed(self, origin: str) -> set[str]:
        stamp = self._read_stamp()
        return set(stamp["installed"]) if stamp.get("origin") == origin else set()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two commands at the same time don't fill one environment twice."""
        try:
            lock = self.folder.with_name(self.folder.name + ".lock").open("w")
        except OSError as error:
            raise Problem(
                f"Can't write {self.folder.parent}: {error.strerror}.\n"
                "Use a writable checkout, or name another place for the environment: DEV_VENV=/some/folder ./dev ..."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _create(self) -> None:
        if self._read_stamp():
            self.stamp.unlink()
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        made = subprocess.run(
            [self.python, "-m", "venv", str(self.folder)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Problem(
                f"{self.python} can't make a virtual environment:\n{tail(made.stdout + made.stderr)}\n"
                "On Debian and Ubuntu: sudo apt install python3-venv. Or run dev with another Python, "
                "for example: python3.12 dev ..."
            )

    def _install(self, wanted: list[str]) -> None:
        editables = [item.removeprefix("-e ") for item in wanted if item.startswith("-e ")]
        others = [item for item in wanted if not item.startswith("-e ")]
        with tempfile.TemporaryDirectory() as scratch:
            pins = Path(scratch) / "constraints.txt"
            pins.write_text(without_hashes(self.constraints.read_text()) if self.constraints else "")
            self._pip("-c", str(pins), "hatchling")
            paths = [argument for name in editables for argument in ("-e", f"./packages/{name}")]
            self._pip("-c", str(pins), "--no-build-isolation", *paths, *others)

    def _pip(self, *arguments: str) -> None:
        command = [self.interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--retries=2", *arguments]
        # Its own settings apply: index, proxy, certificates. PIP_USER would install outside the environment.
        environ = {key: value for key, value in os.environ.items() if key not in {"PIP_USER", "PIP_TARGET"}}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        if done.returncode and OFFLINE.search(done.stderr):
            raise Problem("The package index can't be reached: check the network, or pip's settings (pip config list).")
        if done.returncode:
            raise Problem(f"pip failed:\n{tail(done.stdout + done.stderr)}")


def without_hashes(lock: str) -> str:
    """The pins of a lock file alone: pip can't install an editable package while it checks hashes."""
    return re.sub(r"\s*\\\n\s+--hash=\S+", "", lock)


def tail(output: str) -> str:
    kept = [line for line in output.splitlines() if line.strip() and not line.startswith("WARNING: Location")]
    return "\n".join(kept[-15:])


def display(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
