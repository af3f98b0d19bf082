"""The layout of the checkout, and the metadata of its distributions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "packages"
EXAMPLES = ROOT / "examples"
LOCK = ROOT / ".dev" / "locks" / "lock.txt"


@dataclass(frozen=True, slots=True)
class Distribution:
    """One of the distributions under packages/."""

    name: str
    folder: Path
    metadata: dict[str, Any]

    @property
    def version(self) -> str:
        return str(self.metadata["version"])

    @property
    def extras(self) -> dict[str, list[str]]:
        return dict(self.metadata.get("optional-dependencies", {}))

    @property
    def whole(self) -> str:
        """The requirement on it with all its extras."""
        return f"{self.name}[{','.join(self.extras)}]" if self.extras else self.name

    @property
    def requirements(self) -> list[str]:
        """Every requirement, including those of the extras."""
        return [*self.metadata["dependencies"], *(r for extra in self.extras.values() for r in extra)]


@cache
def distributions() -> dict[str, Distribution]:
    """All distributions by name, core first: the order in which they can be installed."""
    found = {}
    for path in sorted(PACKAGES.glob("*/pyproject.toml"), key=lambda p: (p.parent.name != "pyncette-core", p)):
        metadata = tomllib.loads(path.read_text())["project"]
        found[metadata["name"]] = Distribution(metadata["name"], path.parent, metadata)
    return found


@cache
def groups() -> dict[str, list[str]]:
    """The dependency groups of the root pyproject.toml: what the tools need."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return {name: list(requirements) for name, requirements in table.items()}


def name_of(requirement: str) -> str:
    """The normalised project name in a requirement, without extras, versions and markers."""
    return re.sub(r"[-_.]+", "-", _parts(requirement)[0]).lower()


def is_ours(requirement: str) -> bool:
    return name_of(requirement) in distributions()


def script_requirements(script: Path) -> list[str]:
    """What a script declares in its `# /// script` block (inline script metadata); none without a block."""
    block = re.search(r"(?m)^# /// script$\n((?:^#(?: .*)?$\n)*?)^# ///$", script.read_text())
    if block is None:
        return []
    text = "".join(line[2:] + "\n" for line in block[1].splitlines())
    return list(tomllib.loads(text).get("dependencies", []))


def closure(requirements: Iterable[str]) -> tuple[set[str], set[str]]:
    """The distributions of this repository that the requirements need, and the third-party requirements of all of
    them."""
    ours: set[str] = set()
    others: set[str] = set()
    pending, seen = list(requirements), set()
    while pending:
        requirement = pending.pop()
        if requirement in seen:
            continue
        seen.add(requirement)
        if not is_ours(requirement):
            others.add(requirement)
            continue
        distribution = distributions()[name_of(requirement)]
        ours.add(distribution.name)
        pending += distribution.metadata["dependencies"]
        for extra in _parts(requirement)[1]:
            pending += distribution.extras[extra]
    return ours, others


def example_requirements() -> list[str]:
    """The requirements that the examples declare."""
    return [requirement for script in sorted(EXAMPLES.glob("*.py")) for requirement in script_requirements(script)]


def _parts(requirement: str) -> tuple[str, list[str]]:
    """The name in a requirement, and its extras."""
    match = re.match(r"\s*([\w.-]+)\s*(?:\[([^\]]*)\])?", requirement)
    if match is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    return match[1], re.findall(r"[\w.-]+", match[2] or "")
