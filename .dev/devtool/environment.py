"""A virtual environment in the checkout, which is filled once, and again only when its requirements have changed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtool import uv
from devtool.layout import LOCK, PACKAGES, ROOT
from devtool.problem import Problem


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment of `python`, with the versions in `constraints`, or those that `resolution` chooses if
    None."""

    folder: Path
    python: str = os.path.realpath(sys.executable)  # never the environment's own
    constraints: Path | None = LOCK
    resolution: str = "highest"

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
        wanted = {f"-e ./packages/{package}" for package in editables} | set(requirements)
        origin = self._origin()
        if wanted <= self._installed(origin):
            return
        with self._alone():
            present = self._installed(origin)
            if wanted <= present:
                return
            started = time.monotonic()
            say(f"Setting up {display(self.folder)} ...")
            self._install(sorted(wanted | present))
            stamp = {"python": self.python, "origin": origin, "installed": sorted(wanted | present)}
            self.stamp.write_text(json.dumps(stamp))
            say(f"Ready after {time.monotonic() - started:.0f} s.")

    def run(self, *arguments: str) -> int:
        """Runs the environment's Python in the repository's root, and returns its exit status."""
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(self.folder / "pycache")}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would each compile all that they import
        return subprocess.run([self.interpreter, *arguments], cwd=ROOT, env=environ, check=False).returncode

    def _origin(self) -> str:
        """A digest of everything that determines the content of an installation."""
        digest = hashlib.sha256(self.python.encode())
        sources = [ROOT / "pyproject.toml", *sorted(PACKAGES.glob("*/pyproject.toml")), Path(__file__)]
        for path in [*sources, *([self.constraints] if self.constraints else [])]:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _stamped(self) -> dict[str, Any]:
        """The record of the last successful installation; empty if there is none, or only one of another Python."""
        try:
            stamp: dict[str, Any] = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return {}
        return stamp if stamp.get("python") == self.python and os.access(self.interpreter, os.X_OK) else {}

    def _installed(self, origin: str) -> set[str]:
        stamp = self._stamped()
        return set(stamp["installed"]) if stamp.get("origin") == origin else set()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A lock, so that two concurrent commands don't fill the same environment."""
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

    def _install(self, wanted: list[str]) -> None:
        if not self._stamped():
            uv.run("venv", "--clear", "--seed", "--python", self.python, self.folder)
        self.stamp.unlink(missing_ok=True)
        pins = ("--constraints", self.constraints, "--build-constraints", self.constraints) if self.constraints else ()
        packages = [part for item in wanted for part in item.split(" ", 1 if item.startswith("-e ") else 0)]
        uv.run("pip", "install", "--python", self.interpreter, "--resolution", self.resolution, *pins, *packages)


def display(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
