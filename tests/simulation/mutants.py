"""Inserts faults into core, one at a time, and checks that the simulation finds each.

Each mutant runs in a process of its own, which imports one module of core with one change.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .faults_of_core import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]

FOUND_AS = {
    "abandoned": "a lease abandoned",
    "backfills": "a backfill incomplete",
    "beginnings": "a start that was too early or not allowed",
    "duplicates": "executed twice",
    "endings": "an execution that never ends",
    "gone": "an unscheduled instance that is still there",
    "leases": "a wrong lease or token",
    "not done in 900 s": "something that never finishes",
    "occurrences": "an occurrence lost",
    "operations": "a wrong answer to an operator",
    "pauses": "a claim during a pause",
    "policies": "a policy broken",
    "runs_asked_for": "a manual run lost or repeated",
    "pause_changes": "a pause or resume that nobody asked for",
    "totals": "wrong counters",
}
"""What the table calls the checks that find a fault."""


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from its changed source."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = changed(Path(path).read_text(), self._mutant)
        return self.source_to_code(source.encode(), path)  # bypasses the bytecode cache, which knows only the original


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._name = f"pyncette.{mutant.module}"

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Changed(fullname, spec.origin, self._mutant)
        return spec


def changed(source: str, mutant: Mutant) -> str:
    """The source with the fault.

    :raises ValueError: the text to replace is missing, or occurs more than once.
    """
    if source.count(mutant.old) != 1:
        raise ValueError(f"{mutant.module} has {mutant.old!r} {source.count(mutant.old)} times: change the mutant.")
    return source.replace(mutant.old, mutant.new)


def source_of(mutant: Mutant) -> str:
    """The source of the module that the mutant changes."""
    spec = importlib.util.find_spec(f"pyncette.{mutant.module}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the simulation found a mutant.

    :ivar seeds: how many were run, including the one that found the fault.
    :ivar found: the first problem that was reported; empty if there was none.
    """

    mutant: Mutant
    seeds: int
    found: str
    seconds: float


def judge(mutant: Mutant) -> Verdict:
    """Run seeds in a separate process until one of them finds the fault."""
    began = time.monotonic()
    command = [sys.executable, "-m", __name__, str(MUTANTS.index(mutant))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seeds, _, found = run.stdout.strip().partition(" ")
    return Verdict(mutant, int(seeds), found, time.monotonic() - began)


def table(*, jobs: int = 1) -> int:
    """Print the table of docs/promises.md, and return the exit status."""
    print("| fault | seeds | found as |\n|---|---|---|")
    missed = 0
    with ThreadPoolExecutor(jobs) as pool:
        for verdict in pool.map(judge, MUTANTS):
            missed += not verdict.found
            check = verdict.found.partition(":")[0]
            found_as = FOUND_AS.get(check, check) if verdict.found else "not found"
            print(f"| {verdict.mutant.name} | {verdict.seeds:,} | {found_as} |", flush=True)
    print(f"\n{len(MUTANTS) - missed} of {len(MUTANTS)} are found.")
    return 1 if missed else 0


def _run(mutant: Mutant) -> None:
    sys.meta_path.insert(0, _Finder(mutant))
    outcome: Any = importlib.import_module("tests.simulation.outcome").outcome
    for seed in range(mutant.seeds):
        found = outcome(seed).found
        if found:
            print(seed + 1, found[0].replace("\n", " "))
            return
    print(mutant.seeds)


if __name__ == "__main__":
    _run(MUTANTS[int(sys.argv[1])])
