"""Builds the distributions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devtool.problem import Problem
from devtool.uv import tail


def build(python: str, folders: Iterable[Path], target: Path) -> None:
    """Builds an sdist from each folder, and a wheel from the sdist, into `target`; `python` has build and hatchling.

    :raises Problem: with what the builder said.
    """

    def build_one(folder: Path) -> None:
        arguments = [python, "-m", "build", "--no-isolation", "--outdir", str(target), str(folder)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Problem(f"{folder.name} can't be built:\n{tail(done.stdout + done.stderr)}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(build_one, folders))
