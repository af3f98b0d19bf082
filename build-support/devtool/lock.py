"""Makes the lock files under 3rdparty/: beside each, the requirements that it was resolved from."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path

from devtool.environment import Environment, tail
from devtool.layout import LOCK, distributions, example_requirements, groups, is_ours, name_of
from devtool.problem import Problem

HEADER = "# Made by `./dev lock` from the pyproject.toml files and examples: what they ask for.\n"
PANTS_LOCK = LOCK.parent / "pants" / "lock.txt"

# The groups that each lock serves, beside what the distributions and examples need. Pants installs all of its lock
# for each of its own tools, so that one is small.
LOCKS: dict[Path, Collection[str]] = {
    LOCK: groups().keys() - {"pants"},
    PANTS_LOCK: {"test", "mypy", "pants"},
}


def requirements_text(names: Collection[str]) -> str:
    """All requirements of the distributions, the examples and the named groups, but those on our own distributions."""
    asked = {r for d in distributions().values() for r in d.requirements} | set(example_requirements())
    asked |= {r for name in names for r in groups()[name]}
    wanted = sorted((name_of(r), r) for r in asked if not is_ours(r))
    return HEADER + "".join(f"{requirement}\n" for _, requirement in wanted)


def write(environment: Environment) -> None:
    """Writes requirements and locks; these hold hashes and name no index. What is in several has one version."""
    options = ["--universal", "--python-version=3.11", "--generate-hashes"]
    for lock, names in LOCKS.items():
        text = requirements_text(names)
        lock.with_name("requirements.txt").write_text(text)
        lock.write_text(compile_pins(environment, text, *options))
        options.append(f"--constraints={LOCK}")


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
