"""How occurrences of a task are executed: each policy with its default, its check and its documentation.

The decorators repeat names, types, defaults and documentation, because type checkers and editors read nothing else; a
test checks that they agree with this module. Everything else is derived from it.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, get_type_hints

from pyncette._enums import plain_members
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


@plain_members
class ExecutionMode(enum.Enum):
    """How often an occurrence may be executed when things go wrong."""

    AT_LEAST_ONCE = 0
    """Claimed, executed, committed: repeated if the worker dies before the commit."""
    AT_MOST_ONCE = 1
    """Claimed, advanced, then executed: lost if the worker dies during the execution."""


@plain_members
class FailureMode(enum.Enum):
    """What happens when an at-least-once execution raises."""

    NONE = 0
    """The lease stays; the occurrence is retried when it expires."""
    UNLOCK = 1
    """The occurrence is retried one ``poll_interval`` after the failure."""
    COMMIT = 2
    """The run has failed, and is over: the next occurrence follows as after a success."""


@plain_members
class OnExhausted(enum.Enum):
    """What happens to an instance whose run has failed."""

    NEXT = "next"
    """It continues with the next occurrence. If there is none, it is finished."""
    HOLD = "hold"
    """It is dead: kept, but not executed again until it is retried, rescheduled or removed."""


@plain_members
class CatchUp(enum.Enum):
    """Which of several missed occurrences are executed. The others are skipped as ``coalesced``."""

    ALL = "all"
    """All of them, one after another."""
    EARLIEST = "earliest"
    """The earliest one."""
    LATEST = "latest"
    """The latest one."""


@plain_members
class Overlap(enum.Enum):
    """What happens to occurrences that come due while another one is open, including the waits between its attempts."""

    QUEUE = "queue"
    """They count as missed: ``catch_up`` decides."""
    SKIP = "skip"
    """They are skipped."""
    CANCEL = "cancel"
    """The open one is cancelled, and superseded by the next."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything about a policy besides its name, type and default.

    :ivar doc: its line in the documentation.
    :ivar check: called with the policy's name and value; raises TypeError or ValueError.
    :ivar write: what to write instead of one of ``words``.
    :ivar words: what other schedulers call it. They are refused where a task is declared.
    """

    doc: str
    check: Callable[[str, object], object]
    write: str
    words: tuple[str, ...] = ()


MAX_RUNS = 100
"""The maximum number of latest runs that an instance keeps."""


@dataclass(frozen=True, kw_only=True)
class Policies:
    """How occurrences of a task are executed. Policies are not stored: those in the running code apply.

    Has no slots, so that properties can be cached.
    """

    fast_forward: Annotated[
        bool,
        Policy(
            "whether only the earliest of missed occurrences is executed: :attr:`CatchUp.EARLIEST`; False by default.",
            check=check_flag,
            write="fast_forward=True",
            words=("skip_missed",),
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
            "how soon others execute an occurrence again after its worker has died; 60 seconds by default.",
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
            "whether the worker renews the lease of what it executes; True by default. ``'cancel'`` also cancels an "
            "execution that has lost its lease. With False, an execution that outlasts its lease is executed again by "
            "another worker.",
            check=check_heartbeat,
            write="heartbeat=True",
            words=("auto_extend", "auto_renew", "auto_renewal", "keep_alive", "keepalive", "renew_lease"),
        ),
    ] = True
    retry: Annotated[
        RetryPolicy | None,
        Policy(
            "when another attempt follows one that failed: a :class:`Retry`, or a function ``(attempt, error)`` that "
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
            "what happens to an instance whose run has failed: :attr:`OnExhausted.NEXT`, or :attr:`OnExhausted.HOLD`, "
            "which keeps it as dead. By default one-off instances are held and others continue.",
            check=check_optional(check_choice(OnExhausted)),
            write="on_exhausted=OnExhausted.HOLD",
            words=("dead_letter", "dead_letter_queue", "dlq", "on_exhaustion", "on_giveup"),
        ),
    ] = None
    catch_up: Annotated[
        CatchUp,
        Policy(
            "which of several missed occurrences are executed; :attr:`CatchUp.ALL` by default.",
            check=check_choice(CatchUp),
            write="catch_up=CatchUp.LATEST",
            words=("catchup", "coalesce", "misfire_policy", "on_missed"),
        ),
    ] = CatchUp.ALL
    timeout: Annotated[
        datetime.timedelta | None,
        Policy(
            "an attempt that takes longer is cancelled and has failed; None by default: never. A plain function can't "
            "be cancelled: it counts as timed out, but keeps its slot until it returns.",
            check=check_optional(check_duration),
            write="timeout=timedelta(minutes=…)",
            words=("execution_timeout", "job_timeout", "max_duration", "max_runtime", "time_limit"),
        ),
    ] = None
    max_lateness: Annotated[
        datetime.timedelta | None,
        Policy(
            "an occurrence that could not start within this time after it came due is skipped; None by default: never.",
            check=check_optional(check_duration),
            write="max_lateness=timedelta(minutes=…)",
            words=("expires", "grace_period", "misfire_grace_time", "misfire_threshold", "start_deadline"),
        ),
    ] = None
    overlap: Annotated[
        Overlap,
        Policy(
            "what happens to occurrences that come due while one is open; :attr:`Overlap.QUEUE` by default.",
            check=check_choice(Overlap),
            write="overlap=Overlap.SKIP",
            words=("allow_overlap", "concurrency_policy", "no_overlap", "overlap_policy", "singleton"),
        ),
    ] = Overlap.QUEUE
    jitter: Annotated[
        datetime.timedelta | None,
        Policy(
            "delays each occurrence by a part of this, which is always the same for an instance and evenly spread "
            "over instances; None by default.",
            check=check_optional(check_duration),
            write="jitter=timedelta(minutes=…)",
            words=("random_delay", "splay", "spread", "stagger"),
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        Policy(
            "the maximum number of executions of this task at a time in one process; None by default: only the app's "
            "``concurrency_limit`` applies.",
            check=check_optional(check_whole(1)),
            write="concurrency=1",
            words=("max_active_runs", "max_concurrency", "max_concurrent", "max_instances", "max_running_jobs"),
        ),
    ] = None
    retain: Annotated[
        datetime.timedelta | None,
        Policy(
            "how long to keep an instance that has no further occurrence; None by default: it is removed immediately.",
            check=check_optional(check_duration),
            write="retain=timedelta(days=…)",
            words=("delete_after", "keep_result", "retention", "ttl_after_finished"),
        ),
    ] = None
    pause_after: Annotated[
        int | None,
        Policy(
            "the number of consecutive failed runs after which the instance is paused until it is resumed; None by "
            "default: never. At least once and without ``retry``, errors are retried forever, so only runs that raise "
            ":class:`GiveUp` count. Can't be combined with ``on_exhausted=OnExhausted.HOLD``.",
            check=check_optional(check_whole(1)),
            write="pause_after=10",
            words=("circuit_breaker", "disable_after", "max_failures", "pause_on_failure"),
        ),
    ] = None
    keep_runs: Annotated[
        int,
        Policy(
            "how many of its latest runs each instance keeps, up to 100; 3 by default.",
            check=check_whole(0, MAX_RUNS),
            write="keep_runs=3",
            words=("history_limit", "keep_history", "result_ttl"),
        ),
    ] = 3

    @cached_property
    def lease_microseconds(self) -> int:
        return self.lease_duration // _MICROSECOND

    @cached_property
    def lateness_microseconds(self) -> int | None:
        return None if self.max_lateness is None else self.max_lateness // _MICROSECOND

    @cached_property
    def timeout_microseconds(self) -> int | None:
        return None if self.timeout is None else self.timeout // _MICROSECOND

    @cached_property
    def jitter_microseconds(self) -> int:
        return 0 if self.jitter is None else self.jitter // _MICROSECOND

    @cached_property
    def retain_microseconds(self) -> int | None:
        return None if self.retain is None else self.retain // _MICROSECOND

    @property
    def retains(self) -> bool:
        """Whether finished instances are kept for a while."""
        return self.retain is not None

    @cached_property
    def catching_up(self) -> CatchUp:
        """``catch_up``, or its equivalent for ``fast_forward``."""
        return CatchUp.EARLIEST if self.fast_forward else self.catch_up

    @cached_property
    def follows_schedule_exactly(self) -> bool:
        """Whether no policy affects which occurrence comes next, or when. True for most tasks."""
        skips = self.overlap is Overlap.SKIP or self.catching_up is CatchUp.EARLIEST
        return not skips and self.jitter is None

    @cached_property
    def cancels_overlapping(self) -> bool:
        """Whether an execution is cancelled when the next occurrence comes due."""
        return self.overlap is Overlap.CANCEL

    @cached_property
    def follows_attempts(self) -> bool:
        """Whether the next attempt depends on how the earlier ones ended."""
        return self.retry is not None or self.overlap is not Overlap.QUEUE or self.chooses

    @cached_property
    def chooses(self) -> bool:
        """Whether an execution may begin with a different occurrence than the earliest missed one."""
        return self.catching_up is CatchUp.LATEST or self.max_lateness is not None

    def check(self) -> None:
        """Refuse policies that can't be followed.

        :raises TypeError: a policy has the wrong type.
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
        if self.pause_after is not None and self.on_exhausted is OnExhausted.HOLD:
            raise ValueError(
                "pause_after has no meaning with on_exhausted=OnExhausted.HOLD: an instance whose run has failed is "
                "dead, and has no further run that could fail. Leave one out."
            )
        if self.fast_forward and self.catch_up not in (CatchUp.ALL, CatchUp.EARLIEST):
            raise ValueError(
                f"fast_forward=True is catch_up=CatchUp.EARLIEST, which contradicts {self.catch_up}: leave it out."
            )

        at_most_once = self.execution_mode is ExecutionMode.AT_MOST_ONCE
        if self.timeout is not None and not at_most_once and not self.heartbeat and self.timeout > self.lease_duration:
            raise ValueError(
                f"timeout ({self.timeout}) is longer than the lease ({self.lease_duration}), which nothing renews: "
                "leave heartbeat=False out, or write a longer lease_duration."
            )

    def _check_at_most_once(self) -> None:
        for name, default in (("failure_mode", FailureMode.NONE), ("retry", None), ("on_exhausted", None)):
            if getattr(self, name) is not default:
                raise ValueError(
                    f"{name} has no meaning with ExecutionMode.AT_MOST_ONCE, which never retries: leave one out."
                )
        if self.overlap is not Overlap.QUEUE:
            raise ValueError(
                "overlap has no meaning with ExecutionMode.AT_MOST_ONCE, whose occurrences are over before they are "
                "executed, and may overlap: leave one out."
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
