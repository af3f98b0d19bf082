"""How occurrences of a task are executed."""

from __future__ import annotations

import datetime
import enum
from typing import NamedTuple

from pyncette._validation.checks import check_duration

_MICROSECOND = datetime.timedelta(microseconds=1)


class ExecutionMode(enum.Enum):
    """How often an occurrence may be executed when things go wrong."""

    AT_LEAST_ONCE = 0
    """Claimed, executed, committed: repeated if the worker dies before the commit."""
    AT_MOST_ONCE = 1
    """Claimed, advanced, then executed: lost if the worker dies during the execution."""


class FailureMode(enum.Enum):
    """What happens when an at-least-once execution raises."""

    NONE = 0
    """The lease stays; the occurrence is retried when it expires."""
    UNLOCK = 1
    """The occurrence is retried one ``poll_interval`` after the failure."""
    COMMIT = 2
    """The failure counts as success."""


class Policies(NamedTuple):
    """How occurrences of a task are executed. Not stored: those of the code that runs apply."""

    fast_forward: bool = False
    failure_mode: FailureMode = FailureMode.NONE
    execution_mode: ExecutionMode = ExecutionMode.AT_LEAST_ONCE
    lease_duration: datetime.timedelta = datetime.timedelta(seconds=60)

    @property
    def lease_microseconds(self) -> int:
        return self.lease_duration // _MICROSECOND

    def check(self) -> None:
        """Refuse what can't be executed.

        :raises TypeError: a policy is of a wrong type.
        :raises ValueError: the policies contradict each other, or the lease has no duration.
        """
        for name, kind in (("failure_mode", FailureMode), ("execution_mode", ExecutionMode), ("fast_forward", bool)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                hint = "True or False" if kind is bool else " or ".join(f"{kind.__name__}.{m.name}" for m in kind)
                raise TypeError(f"{name} is {value!r}: write {hint}.")
        check_duration("lease_duration", self.lease_duration)
        if self.execution_mode is ExecutionMode.AT_MOST_ONCE and self.failure_mode is not FailureMode.NONE:
            raise ValueError(
                "failure_mode has no meaning with ExecutionMode.AT_MOST_ONCE, which never retries: leave one out."
            )
