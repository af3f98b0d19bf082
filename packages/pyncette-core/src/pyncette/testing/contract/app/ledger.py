"""What operators have requested, what workers have executed, and whether the two agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pyncette import Context
from pyncette.testing.clock import ManualClock

from .bench import seconds

EVERYTHING = ""
"""Denotes the whole template, among the names of instances."""

PAUSE_BOUND = 2
"""Seconds, two poll intervals, after which nothing of a paused template begins."""

Run = tuple[str, str]
"""An instance and one of its runs: the number that was passed to the trigger, otherwise its cause and moment."""


@dataclass
class Pauses:
    """What is certainly paused, and since when. While contradictory calls overlap, nothing is certain."""

    since: dict[str, float] = field(default_factory=dict)
    ending: Counter[str] = field(default_factory=Counter)  # calls in progress that end a pause
    ended: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def ends(self, name: str) -> Iterator[None]:
        """A call that ends a pause, whether or not it succeeds."""
        self.since.pop(name, None)
        self.ending[name] += 1
        try:
            yield
        finally:
            self.ending[name] -= 1
            self.ended[name] += 1
            self.since.pop(name, None)

    @contextmanager
    def begins(self, name: str, clock: ManualClock) -> Iterator[None]:
        """A call that pauses. The pause is certain if the block doesn't raise and no other call has ended it."""
        before = self.ended[name]
        alone = not self.ending[name]
        yield
        if alone and before == self.ended[name] and not self.ending[name]:
            self.since.setdefault(name, seconds(clock.time) or 0)


class Ledger:
    """The history of one template.

    :ivar promised: triggers that the storage has confirmed.
    :ivar excused: how often a run may be repeated because it lost its lease.
    """

    def __init__(self, clock: ManualClock, attempts: int | None, *, once: bool) -> None:
        """``attempts`` is how many a run has; None for any number. ``once``: at most once."""
        self._clock = clock
        self._attempts = attempts
        self._once = once
        self.pauses: Pauses = Pauses()
        self.promised: set[Run] = set()
        self.fills: dict[str, tuple[str, int]] = {}  # by id: instance, number of moments
        self.begun: Counter[Run] = Counter()
        self.succeeded: Counter[Run] = Counter()
        self.failed: Counter[Run] = Counter()
        self.excused: Counter[Run] = Counter()
        self.open: dict[object, Counter[Run]] = {}  # by worker
        self.faults: list[str] = []
        self.died: float | None = None  # when a worker last died

    @contextmanager
    def executing(self, context: Context) -> Iterator[None]:
        """Wraps each execution."""
        run, now = _run(context), seconds(self._clock.time) or 0
        if context.trigger != "manual":
            for name, bound in ((EVERYTHING, PAUSE_BOUND), (run[0], 0)):
                since = self.pauses.since.get(name)
                if since is not None and now > since + bound:
                    self.faults.append(f"{run} began at {now}, and was paused at {since}")
        elsewhere = sum(runs[run] for runs in self.open.values())
        if elsewhere > self.excused[run]:
            self.faults.append(f"{run} began at {now} while it was being executed, and no lease was lost")
        mine = self.open.setdefault(context.app_context, Counter())
        self.begun[run] += 1
        mine[run] += 1
        try:
            yield
        except RuntimeError:
            self.failed[run] += 1
            raise
        finally:
            mine[run] -= 1
        self.succeeded[run] += 1

    def killed(self, worker: object) -> None:
        """A worker was killed: what it was executing may be repeated."""
        self.died = seconds(self._clock.time)
        for run, count in self.open.pop(worker, Counter()).items():
            self.excused[run] += count

    def gone(self, name: str) -> None:
        """An instance was, or may have been, removed or replaced: nothing promised about it applies any more."""
        self.promised = {run for run in self.promised if run[0] != name}
        self.fills = {key: fill for key, fill in self.fills.items() if fill[0] != name}
        for runs in self.open.values():
            for run, count in runs.items():
                if run[0] == name:
                    self.excused[run] += count

    def may_be_lost(self, due: float) -> bool:
        """Whether a one-off may never be executed: at most once, and a worker may have died between the two."""
        return self._once and self.died is not None and self.died >= due

    def is_over(self, run: Run) -> bool:
        """Whether a run has ended: it succeeded, or has no attempts left."""
        if self._once:
            return self.begun[run] > 0
        return self.succeeded[run] > 0 or (self._attempts is not None and self.failed[run] >= self._attempts)

    def check(self) -> list[str]:
        """The problems found at the end."""
        lost = [run for run in self.promised if not self.is_over(run) and not (self._once and self.excused[run])]
        found = [*self.faults, *(f"{run} was dropped" for run in sorted(lost))]
        for run, count in self.succeeded.items():
            if count > 1 + self.excused[run]:
                found.append(f"{run} succeeded {count} times, and lost {self.excused[run]} leases")
        for run, count in self.begun.items():
            if self._once and count > 1:
                found.append(f"{run} was executed {count} times, at most once")
        for fill, (name, total) in self.fills.items():
            moments = sum(1 for run in self.begun if run[0] == name and run[1].startswith(f"{fill} "))
            if moments != total:
                found.append(f"{moments} of {total} moments of the backfill {fill} of {name} were executed")
        return found

    def under_way(self) -> list[Run]:
        """What is being executed."""
        return sorted(run for runs in self.open.values() for run, count in runs.items() if count)

    def unreported(self, name: str) -> int:
        """Runs of an instance whose end is unknown: at most once, and the worker died."""
        return sum(1 for run in self.excused if run[0] == name) if self._once else 0

    def executed(self, name: str, trigger: str) -> int:
        """How many runs of an instance have begun: scheduled ones, or all others."""
        scheduled = [run[1].startswith("schedule ") for run in self.begun if run[0] == name]
        return scheduled.count(trigger == "schedule")


def _run(context: Context) -> Run:
    moment = seconds(context.scheduled_at)
    if context.trigger == "manual":
        return context.task.name, f"number {context.args['number']}"
    cause = "schedule" if context.trigger == "schedule" else context.run_id
    return context.task.name, f"{cause} {moment}"
