"""Compares executions with the occurrences expected: nothing is lost or early, and each second execution of a run is
explained by a fault that cost the first one its lease. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby

from .calls import Calls
from .faults import Fault
from .journal import SECOND, Execution, History, Trouble

TOLERANCE = 100_000
"""Microseconds by which a lease may be shorter than promised."""
CLOCKS = 2_000
"""Microseconds by which two readings of the same clock may differ."""


@dataclass(slots=True)
class Verdict:
    """The result of the checker.

    :ivar explained: second executions of a run, by the fault that explains them.
    :ivar lags: microseconds from each occurrence to its first execution, sorted.
    """

    occurrences: int = 0
    executions: int = 0
    lost: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    explained: Counter[str] = field(default_factory=Counter)
    never_begun: int = 0
    lags: list[int] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        return [*self.lost, *self.early, *self.unexplained, *self.broken]


class Checker:
    """Checks one run of the chaos.

    :param expected: the first and the last occurrence of each instance that no operator touched. Those whose name
        begins with ``o`` are executed at most once.
    :param offset: the difference between the storage's time and monotonic time.
    :param lease: the lease duration in microseconds.
    """

    def __init__(
        self, history: History, faults: Iterable[Fault], expected: dict[str, tuple[int, int]], offset: int, lease: int
    ) -> None:
        self._history = history
        self._faults = list(faults)
        self._expected = expected
        self._offset = offset
        self._lease = lease
        self._troubles = _by_process(history.troubles)
        self._calls = Calls(history.calls, offset)
        self._verdict = Verdict(executions=len(history.executions))

    def check(self) -> Verdict:
        verdict = self._verdict
        by_name: dict[str, list[Execution]] = {}
        for execution in self._history.executions:
            by_name.setdefault(execution.name, []).append(execution)
        for name, executions in by_name.items():
            executions.sort(key=lambda execution: execution.fence)
            if name.startswith("o"):
                self._at_most_once(executions)
            else:
                self._at_least_once(executions)
            self._in_time(executions)
        for name, (first, last) in self._expected.items():
            self._complete(name, by_name.get(name, []), range(first, last + 1, SECOND))
        verdict.broken += self._calls.check(by_name)
        verdict.occurrences += sum(
            len({execution.what for execution in executions})
            for name, executions in by_name.items()
            if name not in self._expected
        )
        verdict.lags.sort()
        return verdict

    def _complete(self, name: str, executions: list[Execution], occurrences: range) -> None:
        self._verdict.occurrences += len(occurrences)
        once = name.startswith("o")
        done = {int(each.what) for each in executions if once or each.outcome == "ok"}
        for occurrence in occurrences:
            if occurrence in done:
                continue
            if once and self._died_at(occurrence, executions):
                self._verdict.never_begun += 1
            else:
                self._verdict.lost.append(f"{name} was not executed for {occurrence}")
        for occurrence in sorted(done - set(occurrences)):
            self._verdict.broken.append(f"{name} was executed for {occurrence}, which is not one of its moments")

    def _died_at(self, occurrence: int, executions: list[Execution]) -> bool:
        """Whether a worker may have died, or lost the storage, between the claim of an occurrence and its execution,
        which may be long after the scheduled time. Occurrences are claimed in order. If the storage was slow, it may
        also be unknown whether the end was stored; then the occurrence is not executed."""
        before = (each.fence for each in executions if int(each.what) < occurrence)
        after = (each.fence for each in executions if int(each.what) > occurrence)
        begin, end = max([occurrence, *before]) - self._offset, min(after, default=None)
        latest = None if end is None else end - self._offset + self._lease
        faults = ((fault.began, fault.ended) for fault in self._faults)
        troubles = ((trouble.began, trouble.ended) for same in self._troubles.values() for trouble in same)
        hurt = chain(faults, troubles)
        return any(ended >= begin and (latest is None or began <= latest) for began, ended in hurt)

    def _in_time(self, executions: list[Execution]) -> None:
        seen: set[str] = set()
        for execution in executions:
            if execution.what.startswith("#") or execution.what in seen:
                continue
            seen.add(execution.what)
            lag = execution.begun + self._offset - int(execution.what)
            self._verdict.lags.append(lag)
            if lag < -CLOCKS:
                self._verdict.early.append(f"{execution.name} began {-lag} µs before {execution.what}")

    def _at_most_once(self, executions: list[Execution]) -> None:
        for what, count in Counter(execution.what for execution in executions).items():
            if count > 1:
                self._verdict.broken.append(f"{executions[0].name} was executed {count} times for {what}, at most once")

    def _at_least_once(self, executions: list[Execution]) -> None:
        """Unless a lease was lost, a run starts again only if it has failed, and none starts while another execution of
        the instance is under way."""
        for fence, same in groupby(executions, key=lambda execution: execution.fence):
            if len(list(same)) > 1:
                self._verdict.broken.append(f"{executions[0].name} was executed twice with the token {fence}")
        latest: dict[str, Execution] = {}
        for before, execution in zip([None, *executions], executions, strict=False):
            again = latest.get(execution.what)
            if again is not None and again.outcome != "failed":
                self._explain(again, execution)
            elif before is not None and before.ended is not None and before.ended > execution.begun:
                self._explain(before, execution)
            latest[execution.what] = execution

    def _explain(self, first: Execution, second: Execution) -> None:
        verdict = self._verdict
        if first.what != second.what and self._calls.is_gone(first, second):
            verdict.explained["replaced or removed while it ran"] += 1
            return
        if first.what == second.what and self._calls.is_again(first, second):
            verdict.explained["scheduled again, as the answer was lost"] += 1
            return
        held = second.fence - first.fence
        causes = list(self._causes(first, second))
        what = f"{first.name} for {second.what}, {held / SECOND:.3f} s after {first.process} had claimed {first.what}"
        if held < self._lease - TOLERANCE:
            verdict.unexplained.append(f"{second.process} executed {what}, within its lease; faults: {causes}")
        elif causes:
            verdict.explained[causes[0]] += 1
        else:
            verdict.unexplained.append(f"{second.process} executed {what}, and nothing had hurt that worker")

    def _causes(self, first: Execution, second: Execution) -> Iterator[str]:
        """The faults that may have cost the first execution its lease, likeliest first: those that hit only its
        process, then the longest ones."""
        begin, end = first.fence - self._offset, second.begun
        faults = [
            fault
            for fault in self._faults
            if fault.takes_leases(first.process) and fault.began <= end and fault.ended >= begin
        ]
        faults.sort(key=lambda fault: (fault.target != first.process, fault.began - fault.ended))
        yield from (fault.cause for fault in faults)
        for trouble in self._troubles.get(first.process, ()):
            if trouble.began <= end and trouble.ended >= begin:
                yield trouble.kind


def _by_process(troubles: Iterable[Trouble]) -> dict[str, list[Trouble]]:
    found: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        found.setdefault(trouble.process, []).append(trouble)
    return found
