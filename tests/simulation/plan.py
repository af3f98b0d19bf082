"""The plan of a simulation: generated from a seed, and small enough to be printed and reduced."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .policies import some_policies

INTERVALS = (3, 7, 10, 20, 30)
LENGTHS = (15, 20, 30, 45, 60)
FREEZES = (2, 8, 25, 25, 90)
OPERATORS = ("operator 1", "operator 2")


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A task that the apps declare.

    :ivar kind: ``static``, ``dynamic`` or ``partitioned``.
    :ivar interval: seconds between occurrences of a static task or of the recurring instances.
    :ivar policies: keywords of its declaration.
    :ivar names: the instances that exist from the beginning.
    :ivar fails: the percentage of attempts that fail.
    :ivar lasts: durations in seconds, one of which each execution takes.
    :ivar since: the version of the program that introduces it.
    :ivar changed: the interval in the later version.
    """

    name: str
    kind: str
    interval: int
    policies: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    fails: int = 0
    lasts: tuple[float, ...] = (0,)
    since: int = 1
    changed: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """An event at a time, in seconds from the beginning."""

    at: float
    what: str
    who: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of all processes.

    :ivar latency: the maximum time for a request, and for a reply, in seconds.
    :ivar tells_time: whether the storage has a clock. If not, the machines' clocks are correct.
    :ivar shuffled: whether the tasks of a process continue in a random order.
    """

    length: float
    workers: int
    poll_interval: float = 1.0
    latency: float = 0.0
    tells_time: bool = True
    shuffled: bool = False
    batch_size: int = 100
    concurrency_limit: int = 100
    registers: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole plan. ``seed`` also decides everything random during the simulation."""

    seed: int
    settings: Settings
    tasks: tuple[TaskPlan, ...]
    steps: tuple[Step, ...]


def make_plan(seed: int) -> Plan:
    rng = random.Random(seed)
    settings = _settings(rng)
    kinds = rng.choice(
        [("dynamic",), ("dynamic",), ("static", "dynamic"), ("partitioned", "static"), ("dynamic", "dynamic")]
    )
    tasks = tuple(_task(rng, f"{kind} {number}", kind) for number, kind in enumerate(kinds))
    steps = sorted([*_faults(rng, settings), *_operations(rng, settings, tasks)], key=lambda step: step.at)
    return Plan(seed, settings, tasks, tuple(steps))


def _settings(rng: random.Random) -> Settings:
    return Settings(
        length=rng.choice(LENGTHS),
        workers=rng.choice([2, 2, 2, 2, 3, 3, 4, 5]),
        poll_interval=rng.choice([1.0, 2.0, 5.0, 5.0]),
        latency=rng.choice([0, 0, 0.002, 0.03, 0.2]),
        tells_time=rng.random() < 0.7,
        shuffled=rng.random() < 0.5,
        batch_size=rng.choice([100, 100, 2]),
        concurrency_limit=rng.choice([100, 100, 3, 1]),
        registers=rng.random() < 0.15,
    )


def _task(rng: random.Random, name: str, kind: str) -> TaskPlan:
    interval = rng.choice(INTERVALS)
    count = 0 if kind == "static" else rng.choice([1, 2, 3, 5])
    return TaskPlan(
        name=name,
        kind=kind,
        interval=interval,
        policies=some_policies(rng, dynamic=kind != "static"),
        names=tuple(f"{letter}" for letter in "abcde"[:count]),
        fails=rng.choice([0, 0, 20, 50]),
        lasts=rng.choice([(0,), (0,), (0, 0.5), (0, 1, 5), (2, 12), (0, 40)]),
        since=2 if name != "dynamic 0" and rng.random() < 0.1 else 1,
        changed=rng.choice(INTERVALS) if kind == "static" and rng.random() < 0.3 else None,
    )


def _faults(rng: random.Random, settings: Settings) -> list[Step]:
    """A few faults, or none for a fault-free simulation."""
    steps: list[Step] = []
    workers = [f"worker {number}" for number in range(settings.workers)]
    for _ in range(rng.choice([0, 0, 1, 2, 4, 7])):
        at, worker = round(rng.uniform(0, settings.length), 3), rng.choice(workers)
        what = rng.choices(["kill", "freeze", "network", "shutdown", "clock", "upgrade"], weights=[3, 3, 6, 1, 2, 1])[0]
        if what == "freeze":
            steps.append(Step(at, what, worker, {"seconds": rng.choice(FREEZES)}))
        elif what == "network":
            who = rng.choice([worker, worker, rng.choice(OPERATORS)])
            steps.append(Step(at, what, who, _trouble(rng)))
        elif what == "clock":
            if settings.tells_time:
                steps.append(Step(at, what, worker, {"seconds": rng.choice([-3600, -5, -0.2, 0.2, 5, 3600])}))
        else:
            steps.append(Step(at, what, worker, {}))
            if what == "kill" and rng.random() < 0.7:
                steps.append(Step(round(at + rng.choice([0, 1, 15]), 3), "restart", worker, {}))
    return steps


def _trouble(rng: random.Random) -> dict[str, Any]:
    return {
        "kind": rng.choice(["refused", "lost", "lost", "swallowed", "late", "slow"]),
        "method": rng.choice(["", "swap", "swap", "claim", "look", "read"]),
        "seconds": rng.choice([0.3, 1, 4, 12, 40]),
        "count": rng.choice([1, 1, 2, 5]),
    }


OPERATIONS = {
    "trigger": 6,
    "pause": 4,
    "resume": 4,
    "once": 4,
    "update": 2,
    "reschedule": 1,
    "bounded": 1,
    "keep": 1,
    "replace": 1,
    "unschedule": 1,
    "retry": 2,
    "retry_dead": 1,
    "backfill": 2,
    "cancel_backfill": 1,
    "recompute": 1,
    "list": 1,
    "count": 1,
    "get": 1,
    "bulk": 1,
    "purge": 0.3,
    "later": 1,
}


def _operations(rng: random.Random, settings: Settings, tasks: tuple[TaskPlan, ...]) -> list[Step]:
    steps: list[Step] = []
    at = 0.0
    for number in range(rng.choice([0, 1, 3, 6, 12])):
        at = rng.choice([at, round(rng.uniform(0, settings.length), 3), round(rng.uniform(0, settings.length), 0)])
        (what,) = rng.choices(list(OPERATIONS), weights=list(OPERATIONS.values()))
        task = rng.choice(tasks)
        name = None if task.kind == "static" else rng.choice(task.names)
        arguments = {"task": task.name, "name": name, "number": number, **_arguments(rng, what, number)}
        steps.append(Step(at, f"do {what}", rng.choice(OPERATORS), arguments))
    return steps


def _arguments(rng: random.Random, what: str, number: int) -> dict[str, Any]:
    if what == "once":
        return {
            "name": f"once {number}",
            "seconds": rng.choice([-5, 0, 1, 10, 25]),
            "moves": rng.choice([None, None, 3, 30]),
            "paused": rng.random() < 0.1,
        }
    if what in ("pause", "resume"):
        return {"whole": rng.random() < 0.5, "catch_up": rng.random() < 0.5}
    if what == "reschedule":
        return {"seconds": rng.choice(INTERVALS)}
    if what == "bounded":
        return {
            "name": f"bounded {number}",
            "max_runs": rng.choice([None, 1, 2, 3]),
            "start": rng.choice([None, -20, 5]),
            "end": rng.choice([None, 20, 40]),
        }
    if what == "later":
        return {"name": f"later {number}", "seconds": rng.choice([1, 5, 20])}
    if what == "bulk":
        return {"name": f"bulk {number}", "count": rng.choice([2, 5])}
    return {}
