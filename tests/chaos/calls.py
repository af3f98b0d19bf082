"""Compares the answers that operators got with what was executed: no confirmed trigger or one-off is lost, and nothing
is claimed after it was removed or paused.

An execution was claimed between the moment in its fencing token and its start: workers use the lower bound of the
storage's time for tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .journal import SECOND, Call, Execution

NEVER = 2**62
LATE_EFFECT = 45 * SECOND
"""How long after its failure a call may still take effect, as its request may have been on its way."""
TEMPLATE_BOUND = 4 * SECOND
"""The time within which workers learn that a template is paused: more than two poll intervals, as machines are busy."""

CLAIMABLE = frozenset({"schedule", "replace", "once"})
GONE = frozenset({"unschedule", "replace"})
RESUMING = frozenset({"resume", "replace", "unschedule"})


class Calls:
    """The calls of all operators.

    :param offset: the difference between the storage's time and monotonic time.
    """

    def __init__(self, calls: Iterable[Call], offset: int) -> None:
        self._offset = offset
        self._by_name: dict[str, list[Call]] = {}
        for call in sorted(calls, key=lambda call: call.began):
            self._by_name.setdefault(call.name, []).append(call)

    def check(self, executions: Mapping[str, list[Execution]]) -> list[str]:
        """The problems found."""
        found: list[str] = []
        for name, calls in self._by_name.items():
            mine = executions.get(name, [])
            found += self._kept(name, calls, mine)
            found += self._after_removal(name, calls, mine)
            found += self._while_paused(name, calls, mine)
        operated = [each for name in self._by_name for each in executions.get(name, ())]
        found += self._while_paused("", self._by_name.get("", []), operated)
        return found

    def is_gone(self, first: Execution, second: Execution) -> bool:
        """Whether the instance may have been removed or replaced between the claim of the first execution and the start
        of the second."""
        calls = self._by_name.get(first.name, [])
        return _any(calls, GONE, first.fence - self._offset, second.begun)

    def is_again(self, first: Execution, second: Execution) -> bool:
        """Whether one call may have created the instance for both executions: the answer was lost, and when the call
        was sent again, the first execution was over and the instance removed."""
        begin, end = first.fence - self._offset, second.fence - self._offset
        over = first.ended is not None and first.ended <= second.begun
        calls = self._by_name.get(first.name, [])
        return over and any(call.operation in CLAIMABLE and call.began <= begin and _end(call) >= end for call in calls)

    def _kept(self, name: str, calls: list[Call], executions: list[Execution]) -> Iterator[str]:
        """Confirmed triggers and one-offs are executed, unless the instance was removed in the meantime."""
        done: dict[str, Execution] = {}
        for each in executions:
            if each.outcome == "ok":
                done.setdefault(each.what if each.what.startswith("#") else "once", each)
        for call in calls:
            if call.outcome != "ok" or call.operation not in {"trigger", "once"}:
                continue
            what = f"#{call.word}" if call.operation == "trigger" else "once"
            gone = any(other.operation in GONE and _end(other) >= call.began for other in calls)
            if what not in done and not gone:
                yield f"{call.operation} {call.word} of {name} was confirmed and not executed"

    def _after_removal(self, name: str, calls: list[Call], executions: list[Execution]) -> Iterator[str]:
        """An instance is not claimed after its removal, unless somebody has scheduled it again."""
        for call in calls:
            if call.operation != "unschedule" or call.outcome != "ok" or call.ended is None:
                continue
            for each in executions:
                claimed = each.fence - self._offset
                if claimed > call.ended and not _any(calls, CLAIMABLE, call.began, each.begun):
                    yield f"{name} was claimed {(claimed - call.ended) / SECOND:.3f} s after it was removed"

    def _while_paused(self, name: str, calls: list[Call], executions: list[Execution]) -> Iterator[str]:
        """An instance is not claimed while it is paused, except for triggers."""
        bound = 0 if name else TEMPLATE_BOUND
        for call in calls:
            if call.operation != "pause" or call.outcome != "ok" or call.ended is None:
                continue
            for each in executions:
                claimed = each.fence - self._offset
                if each.what.startswith("#") or claimed <= call.ended + bound:
                    continue
                if not _any(calls, RESUMING, call.began, each.begun):
                    after = (claimed - call.ended) / SECOND
                    yield f"{each.name} was claimed {after:.3f} s after {name or 'all'} had been paused"


def _any(calls: list[Call], operations: frozenset[str], begin: int, end: int) -> bool:
    """Whether one of these calls may have taken effect between the two moments."""
    return any(
        call.operation in operations and call.outcome != "refused" and call.began <= end and _end(call) >= begin
        for call in calls
    )


def _end(call: Call) -> int:
    """The latest moment at which the call may have taken effect."""
    if call.ended is None:
        return NEVER
    return call.ended if call.outcome == "ok" else call.ended + LATE_EFFECT
