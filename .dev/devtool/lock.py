"""Makes the lock files in .dev/locks: beside each, the requirements that it was resolved from."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from devtool.environment import Environment, tail
from devtool.layout import LOCK, distributions, example_requirements, groups, is_ours, name_of
from devtool.problem import Problem

HEADER = "# Made by `./dev lock` from the pyproject.toml files and examples: what they ask for.\n"
PANTS = LOCK.parent / "pants"


def for_code() -> set[str]:
    """What the distributions and the examples need of others."""
    return {r for d in distributions().values() for r in d.requirements} | set(example_requirements())


def for_groups(*names: str) -> set[str]:
    """What the named groups of the root pyproject.toml ask for."""
    return {requirement for name in names for requirement in groups()[name]}


def asked() -> dict[Path, set[str]]:
    """What each lock file is resolved from. Pants installs all of a lock for each use, so that its locks are small."""
    return {
        LOCK: for_code() | for_groups(*groups().keys() - {"pants"}),
        PANTS / "code" / "lock.txt": for_code() | for_groups("test", "bench", "mypy"),
        PANTS / "tools" / "lock.txt": for_groups("mypy", "pants"),
    }


def requirements_text(requirements: Iterable[str]) -> str:
    """The requirements in order, but those on our own distributions."""
    wanted = sorted((name_of(r), r) for r in requirements if not is_ours(r))
    return HEADER + "".join(f"{requirement}\n" for _, requirement in wanted)


def write(environment: Environment) -> None:
    """Writes requirements and locks; these hold hashes and name no index. What is in several has one version."""
    options = ["--universal", "--python-version=3.11", "--generate-hashes"]
    for lock, requirements in asked().items():
        text = requirements_text(requirements)
        lock.parent.mkdir(parents=True, exist_ok=True)
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
