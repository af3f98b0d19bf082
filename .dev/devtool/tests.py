"""How pytest is called: the number of processes, and the modules measured for coverage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from devtool.environment import Environment
from devtool.layout import PACKAGES, ROOT

# Each test class, and the functions of each module, stay in one process: so do the servers that they share.
PARALLEL = ("-n4", "--dist=loadscope")
OWN_CHOICE = ("-n", "--numprocesses", "--dist", "--pdb", "--trace", "-s", "--capture=no", "--collect-only", "--co")
PURE = ("schedule", "lease", "migrations", "_schedules", "_tasks", "_lifecycle")


def processes(arguments: Sequence[str]) -> tuple[str, ...]:
    """Several processes, unless the arguments say otherwise, or name modules, for which starting them would take
    longer."""
    if any(argument.startswith(OWN_CHOICE) or ".py" in argument for argument in arguments):
        return ()
    return PARALLEL


def places(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the names of packages, folders below tests and kinds of servers (`valkey`) resolved."""
    names = list(takewhile(lambda argument: not argument.startswith("-"), arguments))
    found: list[str] = []
    for name in names:
        folders = [PACKAGES / f"pyncette-{name}", ROOT / "tests" / name]
        known = [str(folder.relative_to(ROOT)) for folder in folders if folder.is_dir()]
        path = (ROOT / name).exists() or "::" in name
        found += known or ([name] if path else ["packages", "-k", name])
    return [*found, *arguments[len(names) :]]


def covered(environment: Environment, *arguments: str) -> int:
    """Runs Python, and fails unless all lines and branches of the pure modules were executed."""
    modules = ",".join(f"*/pyncette/{name}.py,*/pyncette/{name}/*" for name in PURE)
    environment.run("-m", "coverage", "erase")
    status = environment.run("-m", "coverage", "run", *arguments)
    environment.run("-m", "coverage", "combine", "--quiet")
    return status or environment.run("-m", "coverage", "report", f"--include={modules}", "--fail-under=100")
