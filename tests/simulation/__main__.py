"""Simulates whole apps, and checks what happened.

python -m tests.simulation --seeds 0..10000               # this many runs
python -m tests.simulation --seconds 600 --jobs 2         # as many as there is time for
python -m tests.simulation --seeds 4711                   # repeats one exactly, and shows everything that is wrong
python -m tests.simulation --mutants                      # is each fault that is inserted into core found?
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from .mutants import table
from .outcome import Outcome, outcome
from .shrink import shrunk

PROGRESS_SECONDS = 60.0
"""Seconds between two progress messages."""

BATCH = 50
"""The number of seeds that a process runs at a time."""


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last) if last else int(first) + 1)


def _batch(seeds: range) -> tuple[int, Counter[str], list[Outcome]]:
    """Run some seeds. Returns the last one that was run, the counters, and the failures."""
    counted: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        result = outcome(seed)
        counted.update(runs=1, occurrences=result.occurrences, faults=result.faults, operations=result.operations)
        if result.found:
            failed.append(result)
    return seeds[-1], counted, failed


def _results(seeds: range, jobs: int, until: float) -> Iterator[tuple[int, Counter[str], list[Outcome]]]:
    batches: Iterable[range] = (seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH))
    if jobs == 1:
        for batch in batches:
            yield _batch(batch)
            if time.monotonic() > until:
                return
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = iter(batches)
        open_ = [pool.submit(_batch, batch) for batch in itertools.islice(waiting, 2 * jobs)]
        while open_:
            yield open_.pop(0).result()
            if time.monotonic() < until:
                open_ += [pool.submit(_batch, batch) for batch in itertools.islice(waiting, 1)]


def run(seeds: range, *, seconds: float, jobs: int, shrinks: bool) -> int:
    """Run the simulations, and return the exit status."""
    began = reported = time.monotonic()
    total: Counter[str] = Counter()
    wrong = 0
    last = seeds[0]
    for latest, counted, failed in _results(seeds, jobs, began + seconds):
        last, total = max(last, latest), total + counted
        for each in failed:
            wrong += 1
            _tell(each, shrinks=shrinks)
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            print(_summary(total, wrong, reported - began, seeds[0], last), flush=True)
    print(_summary(total, wrong, time.monotonic() - began, seeds[0], last), flush=True)
    return 1 if wrong else 0


def _tell(failed: Outcome, *, shrinks: bool) -> None:
    print(f"Seed {failed.plan.seed} fails: python -m tests.simulation --seeds {failed.plan.seed}")
    print(*(f"    {each}" for each in failed.found), sep="\n", flush=True)
    if shrinks:
        small = shrunk(failed.plan)
        print("    The smallest plan that fails so:", small.settings, *small.tasks, *small.steps, sep="\n        ")
        print(flush=True)


def _summary(total: Counter[str], wrong: int, seconds: float, first: int, last: int) -> str:
    return (
        f"{total['runs']:,} runs (seeds {first:,}..{last + 1:,}) with {total['occurrences']:,} executions, "
        f"{total['operations']:,} operations and {total['faults']:,} faults in {seconds:.0f} s, "
        f"{60 * total['runs'] / max(seconds, 0.001):,.0f} a minute; {wrong} failed."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=_seeds, default=range(10**9), help="one, or from..to")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start nothing after this many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--no-shrink", action="store_true", help="only say what fails")
    parser.add_argument("--mutants", action="store_true", help="put faults into core, and see that each is found")
    options = parser.parse_args()
    if options.mutants:
        return table(jobs=options.jobs)
    return run(options.seeds, seconds=options.seconds, jobs=options.jobs, shrinks=not options.no_shrink)


if __name__ == "__main__":
    sys.exit(main())
