"""Makes the lock files in .dev/locks: next to each, the requirements that it was resolved from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from devtool import uv
from devtool.layout import LOCK, distributions, example_requirements, groups, is_ours, name_of

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


def write() -> None:
    """Writes requirements and locks; these hold hashes and name no index. What is in several has one version."""
    options = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    for lock, requirements in asked().items():
        lock.parent.mkdir(parents=True, exist_ok=True)
        source = lock.with_name("requirements.txt")
        source.write_text(requirements_text(requirements))
        lock.write_text(uv.run("pip", "compile", "--upgrade", *options, source))
        options.append(f"--constraints={LOCK}")
