"""What happens inside, as values: each event that a :class:`pyncette.observer.Observer` receives is one of these.

A later release may add fields, each with a default: read them by name, and construct events, in tests, with keywords.
Moments are aware datetimes in UTC, durations and lags are seconds. Events hold no arguments of tasks. They can be
pickled if the error that they hold can.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

Trigger = Literal["schedule", "manual", "backfill"]
"""What caused a run."""

AttemptOutcome = Literal["succeeded", "failed", "timed_out", "lost", "cancelled", "released"]
"""How an attempt ended. ``released``: it never began, and isn't counted."""

RunOutcome = Literal["succeeded", "failed", "skipped", "superseded", "withdrawn", "unknown"]
"""How a run ended, after all its attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have.

    :ivar worker: the process that reports the event, as host name and process id: ``host:pid``.
    """

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TickStarted(Event):
    """A pass of the poll loop starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickFinished(Event):
    """A pass of the poll loop has ended.

    :ivar duration: seconds.
    :ivar error: what made it fail, None if it succeeded.
    """

    duration: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationStarted(Event):
    """A repository method is called.

    :ivar operation: the method's name.
    :ivar task: name of the task or template, empty if the call serves several.
    :ivar carried: for a call that stores what others have requested: their carriers' texts, each once.
    """

    operation: str
    task: str
    carried: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFinished(Event):
    """A repository method has returned or raised.

    :ivar operation: the method's name.
    :ivar task: name of the task or template, empty if the call served several.
    :ivar duration: seconds.
    :ivar error: what it raised, None if it returned.
    """

    operation: str
    task: str
    duration: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Event):
    """A tick has claimed what was ready.

    :ivar count: occurrences claimed; may be 0.
    :ivar lag: seconds since the oldest of them was due; 0 if there is none.
    """

    count: int
    lag: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStored(Event):
    """Several writes were sent to the storage together.

    :ivar size: the number of writes.
    """

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTask:
    """What is stored for a static task or template, counted at one moment.

    :ivar task: its name.
    :ivar dead: instances that have run out of attempts.
    :ivar paused: instances that are paused individually.
    :ivar backlog_age: seconds for which the oldest unclaimed occurrence has been ready; 0 if there is
        none, or the template is paused.
    """

    task: str
    dead: int
    paused: int
    backlog_age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled(Event):
    """This worker has sampled its own state, twice a minute, and perhaps the storage.

    :ivar writes_overdue: whether writes wait for a storage that is failing or slow.
    :ivar beyond_lease: executions that continue after their lease has expired.
    :ivar clock_offset: seconds by which the storage's time is ahead of the machine's.
    :ivar tasks: what is stored for each task; empty unless this worker is the one that counts it.
    """

    writes_overdue: bool
    beyond_lease: int
    clock_offset: float
    tasks: tuple[SampledTask, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkStarted(Event):
    """A call about many instances starts.

    :ivar call: its name, such as ``schedule_tasks``.
    :ivar task: name of the template.
    """

    call: str
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkFinished(Event):
    """A call about many instances has ended.

    :ivar call: its name, such as ``schedule_tasks``.
    :ivar task: name of the template.
    :ivar done: how many succeeded.
    :ivar refused: how many were refused.
    :ivar duration: seconds.
    :ivar error: what made it fail, None if it returned.
    """

    call: str
    task: str
    done: int
    refused: int
    duration: float
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent(Event):
    """What events about one run have.

    :ivar task: name of the task, or of the template of an instance.
    :ivar instance: name of the instance, None for a static task.
    :ivar key: canonical name of the instance or static task, unique over all tasks.
    :ivar scheduled_at: the occurrence: the moment for which the run was scheduled.
    :ivar fencing_token: grows with every claim of the key; distinguishes attempts. None if nothing was claimed.
    :ivar trigger: what caused the run.
    :ivar run_id: the id of a manual or backfill run, None for a scheduled one.
    """

    task: str
    instance: str | None
    key: str
    scheduled_at: datetime.datetime
    fencing_token: int | None = None
    trigger: Trigger = "schedule"
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(RunEvent):
    """An execution starts.

    :ivar attempt: its number in the run, from 1.
    :ivar lag: seconds since it was due.
    :ivar carried: the carrier's text from when the instance was scheduled, None if there is none.
    """

    attempt: int
    lag: float
    carried: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRunning(RunEvent):
    """An attempt is still running after half of a lease. Reported repeatedly, a few times per lease, until it ends.

    :ivar attempt: its number in the run, from 1.
    :ivar duration: seconds since its start.
    """

    attempt: int
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(RunEvent):
    """An attempt has ended. If that ends the run, :class:`RunEnded` follows.

    One that this process executed was announced by :class:`AttemptStarted`. ``lag`` and ``duration`` are None for an
    attempt that it did not execute, which was not announced either.

    :ivar attempt: its number in the run, from 1.
    :ivar outcome: how it ended.
    :ivar reason: why, in words, if the outcome doesn't say so; otherwise empty.
    :ivar lag: seconds from the moment when it was due to its start.
    :ivar duration: seconds from its start to its end.
    :ivar error: what the task raised, a cancellation included; None if it returned.
    """

    attempt: int
    outcome: AttemptOutcome
    reason: str = ""
    lag: float | None = None
    duration: float | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(RunEvent):
    """A lease was lost before the end of its attempt was stored: the occurrence may be executed twice.

    :ivar attempt: number of the attempt in the run, from 1.
    """

    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(RunEvent):
    """A run has its outcome, and the outcome is stored.

    Several skipped occurrences are one event: ``scheduled_at`` is the first of them.

    :ivar outcome: how it ended.
    :ivar reason: of a skip, the reason's name; otherwise why, in words, where the outcome does not say it, or empty.
    :ivar attempts: attempts that it took; 0 if none began.
    :ivar error: what the last attempt raised, if this process executed it.
    :ivar last_scheduled_at: the last of several skipped occurrences, None if there is only one.
    :ivar count: number of occurrences.
    :ivar count_exact: False if ``count`` is a lower bound.
    """

    outcome: RunOutcome
    reason: str = ""
    attempts: int
    error: BaseException | None = None
    last_scheduled_at: datetime.datetime | None = None
    count: int = 1
    count_exact: bool = True
