"""How pytest is called: on how many processes, and with which modules measured for coverage."""

from __future__ import annotations

from collections.abc import Sequence

from devtool.environment import Environment

# Each test class, and the functions of each module, stay in one process: so do the servers that they share.
PARALLEL = ("-n2", "--dist=loadscope")
OWN_CHOICE = ("-n", "--numprocesses", "--dist", "--pdb", "--trace", "-s", "--capture=no", "--collect-only", "--co")
PURE = ("schedule", "lease", "migrations", "_schedules", "_tasks", "_lifecycle")


def processes(arguments: Sequence[str]) -> tuple[str, ...]:
    """Two processes, unless the arguments say otherwise, or name single modules, which a second would only hold up."""
    if any(argument.startswith(OWN_CHOICE) or ".py" in argument for argument in arguments):
        return ()
    return PARALLEL


def covered(environment: Environment, *arguments: str) -> int:
    """Runs Python, and fails unless it has executed each line and branch of the pure modules."""
    modules = ",".join(f"*/pyncette/{name}.py,*/pyncette/{name}/*" for name in PURE)
    environment.run("-m", "coverage", "erase")
    status = environment.run("-m", "coverage", "run", *arguments)
    environment.run("-m", "coverage", "combine", "--quiet")
    return status or environment.run("-m", "coverage", "report", f"--include={modules}", "--fail-under=100")
