"""How occurrences of a task are executed: each policy with its default, its check and its documentation.

The decorators repeat names, types, defaults and documentation, because type checkers and editors read nothing else; a
test holds them to this module. All the rest follows from it.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, get_type_hints

from pyncette._validation.checks import (
    check_choice,
    check_duration,
    check_flag,
    check_heartbeat,
    check_optional,
    check_whole,
)

from .retry import RetryPolicy, check_retry

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


class OnExhausted(enum.Enum):
    """What becomes of an instance whose run has failed."""

    NEXT = "next"
    """It goes on with the next occurrence. One without any is finished."""
    HOLD = "hold"
    """It is dead: kept, and executed no more until it is retried, rescheduled or removed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What there is to know of a policy beside its name, type and default.

    :ivar doc: its line in the documentation.
    :ivar check: called with the policy's name and value; raises TypeError or ValueError.
    :ivar write: what to write instead of one of ``words``.
    :ivar words: what other schedulers call it. They are refused where a task is declared.
    """

    doc: str
    check: Callable[[str, object], object]
    write: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Policies:
    """How occurrences of a task are executed. Not stored: those of the code that runs apply.

    Without slots, so that what each execution needs of them is computed once.
    """

    fast_forward: Annotated[
        bool,
        Policy(
            "whether occurrences that were missed are skipped; False by default.",
            check=check_flag,
            write="fast_forward=True",
            words=("catchup", "coalesce", "misfire_grace_time", "misfire_policy", "skip_missed"),
        ),
    ] = False
    failure_mode: Annotated[
        FailureMode,
        Policy(
            "what happens when an execution raises; :attr:`FailureMode.NONE` by default.",
            check=check_choice(FailureMode),
            write="failure_mode=FailureMode.UNLOCK",
            words=("on_error", "on_failure"),
        ),
    ] = FailureMode.NONE
    execution_mode: Annotated[
        ExecutionMode,
        Policy(
            "how often an occurrence may be executed when things go wrong; "
            ":attr:`ExecutionMode.AT_LEAST_ONCE` by default.",
            check=check_choice(ExecutionMode),
            write="execution_mode=ExecutionMode.AT_MOST_ONCE",
            words=("acks_late", "at_least_once", "at_most_once", "delivery_mode", "exactly_once"),
        ),
    ] = ExecutionMode.AT_LEAST_ONCE
    lease_duration: Annotated[
        datetime.timedelta,
        Policy(
            "how soon others execute an occurrence again when its worker has died; 60 seconds by default.",
            check=check_duration,
            write="lease_duration=timedelta(seconds=…)",
            words=(
                *("lease_seconds", "lease_time", "lease_timeout", "lease_ttl", "lock_duration", "lock_timeout"),
                *("lock_ttl", "visibility_timeout"),
            ),
        ),
    ] = datetime.timedelta(seconds=60)
    heartbeat: Annotated[
        bool | Literal["cancel"],
        Policy(
            "whether the worker renews the lease of what it executes; True by default. With ``'cancel'`` it also "
            "cancels an execution whose lease was lost. With False, what outlasts its lease is executed again "
            "elsewhere.",
            check=check_heartbeat,
            write="heartbeat=True",
            words=("auto_extend", "auto_renew", "auto_renewal", "keep_alive", "keepalive", "renew_lease"),
        ),
    ] = True
    retry: Annotated[
        RetryPolicy | None,
        Policy(
            "when a run that failed is executed again: a :class:`Retry`, or a function ``(attempt, error)`` that "
            "returns the time to wait, or None to give up; None by default, which leaves it to ``failure_mode``.",
            check=check_retry,
            write="retry=Retry(5)",
            words=(
                *("autoretry_for", "default_retry_delay", "max_attempts", "max_retries", "max_tries", "retries"),
                *("retry_backoff", "retry_delay", "retry_on", "retry_on_error", "retry_policy"),
            ),
        ),
    ] = None
    on_exhausted: Annotated[
        OnExhausted | None,
        Policy(
            "what becomes of an instance whose run has failed: :attr:`OnExhausted.NEXT`, or :attr:`OnExhausted.HOLD`, "
            "which keeps it as dead; by default one-off instances are held, the others go on.",
            check=check_optional(check_choice(OnExhausted)),
            write="on_exhausted=OnExhausted.HOLD",
            words=("dead_letter", "dead_letter_queue", "dlq", "on_exhaustion", "on_giveup"),
        ),
    ] = None
    pause_after: Annotated[
        int | None,
        Policy(
            "so many failed runs in a row pause the instance until it is resumed; None by default: never.",
            check=check_optional(check_whole(1)),
            write="pause_after=10",
            words=("circuit_breaker", "disable_after", "max_failures", "pause_on_failure"),
        ),
    ] = None
    keep_runs: Annotated[
        int,
        Policy(
            "of how many runs, the latest ones, each instance remembers how they ended, 100 at most; 3 by default.",
            check=check_whole(0, 100),
            write="keep_runs=3",
            words=("history_limit", "keep_history", "result_ttl"),
        ),
    ] = 3

    @cached_property
    def lease_microseconds(self) -> int:
        return self.lease_duration // _MICROSECOND

    def check(self) -> None:
        """Refuse what can't be executed.

        :raises TypeError: a policy is of a wrong type.
        :raises ValueError: the policies contradict each other, or the lease has no duration.
        """
        for name, described in POLICIES.items():
            described.check(name, getattr(self, name))
        if self.execution_mode is ExecutionMode.AT_MOST_ONCE:
            self._check_at_most_once()
        if self.retry is not None and self.failure_mode is not FailureMode.NONE:
            raise ValueError(
                "retry and failure_mode both say what happens when an execution raises: leave failure_mode out. "
                f"{_INSTEAD[self.failure_mode]}"
            )

    def _check_at_most_once(self) -> None:
        for name, default in (("failure_mode", FailureMode.NONE), ("retry", None), ("on_exhausted", None)):
            if getattr(self, name) is not default:
                raise ValueError(
                    f"{name} has no meaning with ExecutionMode.AT_MOST_ONCE, which never retries: leave one out."
                )
        if self.heartbeat == "cancel":
            raise ValueError(
                "heartbeat='cancel' has no meaning with ExecutionMode.AT_MOST_ONCE, which holds no lease while it "
                "executes: leave one out."
            )


_INSTEAD = {
    FailureMode.UNLOCK: "Retries after a fixed time are retry=Retry(…, delay=…, factor=1).",
    FailureMode.COMMIT: "That a failure counts as the end is retry=Retry(1, …), on_exhausted=OnExhausted.NEXT.",
}
"""What to write for a failure mode together with ``retry``."""

POLICIES: dict[str, Policy] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Policies, include_extras=True).items()
}
"""By name, in the order of the documentation."""
