"""Finds the sources and reads the imports out of them."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "packages"


@cache
def tracked() -> tuple[Path, ...]:
    """All existing files that git tracks."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in listing.split("\0") if name and (path := ROOT / name).is_file())


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" or path.name == "dev"]


def run_time_files() -> list[Path]:
    """The modules that the distributions ship."""
    return [path for path in python_files() if path.is_relative_to(PACKAGES) and "src" in path.parts]


def module_name(path: Path) -> str:
    """`pyncette.redis.claims` for a file under a distribution's src."""
    parts = path.relative_to(PACKAGES).with_suffix("").parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, or name in a module: `from pyncette import lease` is `pyncette.lease`."""

    name: str
    line: int
    only_for_types: bool


@cache
def imports(path: Path) -> list[Import]:
    """All imports of a module, including those inside functions, with relative ones made absolute."""
    tree = ast.parse(path.read_text(), str(path))
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for_types = {id(node) for block in ast.walk(tree) if _is_type_checking(block) for node in ast.walk(block)}
    return [
        Import(name, node.lineno, id(node) in for_types)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _names(node, package)
    ]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _names(node: ast.Import | ast.ImportFrom, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    else:
        base = package[: len(package) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}" for alias in node.names)
