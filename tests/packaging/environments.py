"""Environments that contain only what was built."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devtool import uv
from devtool.layout import LOCK, distributions
from devtool.problem import Problem


def without_hashes(lock: str) -> str:
    """Only the pins of a lock file: with hashes, pip would require them for our own wheels too."""
    return re.sub(r"\s*\\\n\s+--hash=\S+", "", lock)


@dataclass(frozen=True, slots=True)
class CleanEnvironment:
    """A virtual environment without pip, filled from a folder of built wheels; third parties' versions as locked."""

    folder: Path
    python: str
    wheels: Path

    @property
    def interpreter(self) -> str:
        return str(self.folder / "bin" / "python")

    def create(self) -> CleanEnvironment:
        subprocess.run([self.python, "-m", "venv", "--without-pip", str(self.folder)], check=True)
        return self

    def install(self, *arguments: str, by_uv: bool = False) -> str:
        """Installs requirements, ours only from the built wheels. Returns pip's output.

        :param by_uv: use uv instead of pip, which takes ten times as long.
        :raises Problem: pip failed; the message is its output.
        """
        ours = "".join(f"{d.name}=={d.version}\n" for d in distributions().values())
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
            pins.write(ours + without_hashes(LOCK.read_text()))
            pins.flush()
            own = ("--find-links", str(self.wheels), "-c", pins.name)
            if by_uv:
                return uv.run("pip", "install", "--python", self.interpreter, *own, *arguments)
            return self.pip("install", "--no-compile", *own, *arguments)

    def pip(self, command: str, *arguments: str) -> str:
        """Runs the outer pip on this environment, and returns its output.

        :raises Problem: pip failed; the message is its output.
        """
        outer = [self.python, "-m", "pip", "--disable-pip-version-check", "--python", self.interpreter]
        done = subprocess.run([*outer, command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Problem(f"pip {command} {' '.join(arguments)} failed:\n{uv.tail(done.stdout + done.stderr)}")
        return done.stdout

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Runs Python code outside of the checkout, without the environment variables that Python would read."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        arguments = [self.interpreter, "-I", "-W", "error", "-c", code]
        return subprocess.run(arguments, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)
