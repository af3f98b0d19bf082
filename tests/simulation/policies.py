"""Random policies, in all combinations that a declaration allows."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pyncette import CatchUp, ExecutionMode, FailureMode, OnExhausted, Overlap, Retry


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def some_policies(rng: random.Random, *, dynamic: bool) -> dict[str, Any]:
    """Keywords for a declaration."""
    found: dict[str, Any] = {"lease_duration": seconds(rng.choice([6, 10, 20, 60]))}
    once = rng.random() < 0.2
    if once:
        found["execution_mode"] = ExecutionMode.AT_MOST_ONCE
    elif rng.random() < 0.6:
        found["retry"] = _retry(rng)
    else:
        found["failure_mode"] = rng.choice([FailureMode.NONE, FailureMode.UNLOCK, FailureMode.COMMIT])
    for name, chance, value in _OPTIONAL:
        if rng.random() < chance:
            found[name] = value(rng)
    if once:
        for name in ("heartbeat", "on_exhausted", "overlap"):
            found.pop(name, None)
    if found.get("on_exhausted") is OnExhausted.HOLD:
        found.pop("pause_after", None)
    if not dynamic:
        found.pop("retain", None)
    if found.get("heartbeat") is False and "timeout" in found:
        del found["timeout"]
    if found.get("failure_mode") is FailureMode.COMMIT:
        found.pop("on_exhausted", None)
    return found


def _retry(rng: random.Random) -> Retry:
    return Retry(
        rng.choice([1, 2, 3, 1000]),
        seconds(rng.choice([0.5, 2, 5])),
        factor=rng.choice([1, 2]),
        jitter=rng.choice([0, 0.1]),
        max_elapsed=rng.choice([None, None, None, seconds(30)]),
        max_lost=rng.choice([1, 5, 1000]),
    )


_OPTIONAL: list[tuple[str, float, Callable[[random.Random], Any]]] = [
    ("on_exhausted", 0.3, lambda rng: rng.choice([OnExhausted.HOLD, OnExhausted.NEXT])),
    ("pause_after", 0.1, lambda rng: rng.choice([1, 2, 3])),
    ("timeout", 0.2, lambda rng: seconds(rng.choice([3, 8]))),
    ("catch_up", 0.35, lambda rng: rng.choice([CatchUp.ALL, CatchUp.EARLIEST, CatchUp.LATEST])),
    ("max_lateness", 0.15, lambda rng: seconds(rng.choice([2, 10]))),
    ("overlap", 0.3, lambda rng: rng.choice([Overlap.QUEUE, Overlap.SKIP, Overlap.CANCEL])),
    ("jitter", 0.15, lambda rng: seconds(rng.choice([1, 2]))),
    ("concurrency", 0.15, lambda rng: rng.choice([1, 2])),
    ("retain", 0.25, lambda rng: seconds(rng.choice([5, 1000]))),
    ("heartbeat", 0.15, lambda rng: rng.choice([False, "cancel"])),
    ("keep_runs", 0.2, lambda rng: rng.choice([0, 1, 10])),
]
