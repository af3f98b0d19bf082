"""Makes 3rdparty/requirements.txt (what is asked for) and 3rdparty/lock.txt (what that resolves to)."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from devtool.environment import Environment, tail
from devtool.layout import LOCK, REQUIREMENTS, distributions, groups, is_ours, name_of
from devtool.problem import Problem

HEADER = "# Made by `./dev lock` from the pyproject.toml files: the union of what they ask for.\n"


def requirements_text() -> str:
    """All requirements of the distributions and the tools, those on our own distributions left out."""
    asked = {r for d in distributions().values() for r in d.requirements if not is_ours(r)}
    asked |= {r for group in groups().values() for r in group}
    return HEADER + "".join(f"{line}\n" for line in sorted(asked, key=lambda r: (name_of(r), r)))


def write(environment: Environment) -> None:
    """Writes both files; the lock holds hashes and names no index."""
    REQUIREMENTS.parent.mkdir(exist_ok=True)
    REQUIREMENTS.write_text(requirements_text())
    options = ("--universal", "--python-version=3.11", "--generate-hashes")
    LOCK.write_text(compile_pins(environment, REQUIREMENTS.read_text(), *options))


def compile_pins(environment: Environment, requirements: str, *options: str) -> str:
    """What uv resolves the requirements to; `options` are uv's.

    :raises Problem: with uv's words when there is no resolution.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "requirements.in"
        source.write_text(requirements)
        compiler = (environment.interpreter, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate")
        done = subprocess.run([*compiler, *options, str(source)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(tail(done.stderr))
    return done.stdout
