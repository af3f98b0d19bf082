"""Creates the lock files in .dev/locks, each next to the requirements that it was resolved from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from devtool import uv
from devtool.layout import LOCK, distributions, example_requirements, groups, is_ours, name_of

HEADER = "# Made by `./dev lock` from the pyproject.toml files and examples: what they ask for.\n"
PANTS = LOCK.parent / "pants"


def for_code() -> set[str]:
    """The third-party requirements of the distributions and the examples."""
    return {r for d in distributions().values() for r in d.requirements} | set(example_requirements())


def for_groups(*names: str) -> set[str]:
    """The requirements in these groups of the root pyproject.toml."""
    return {requirement for name in names for requirement in groups()[name]}


def asked() -> dict[Path, set[str]]:
    """The requirements of each lock file. Pants installs a whole lock for each use, so its locks are small."""
    return {
        LOCK: for_code() | for_groups(*groups().keys() - {"pants"}),
        PANTS / "code" / "lock.txt": for_code() | for_groups("test", "bench", "mypy"),
        PANTS / "tools" / "lock.txt": for_groups("mypy", "pants"),
    }


def requirements_text(requirements: Iterable[str]) -> str:
    """The requirements in order, without those on this repository's distributions."""
    wanted = sorted((name_of(r), r) for r in requirements if not is_ours(r))
    return HEADER + "".join(f"{requirement}\n" for _, requirement in wanted)


def write() -> None:
    """Writes requirements and locks. Locks contain hashes and name no index. A package has the same version in all of
    them."""
    options = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    for lock, requirements in asked().items():
        lock.parent.mkdir(parents=True, exist_ok=True)
        source = lock.with_name("requirements.txt")
        source.write_text(requirements_text(requirements))
        lock.write_text(uv.run("pip", "compile", "--upgrade", *options, source))
        options.append(f"--constraints={LOCK}")
