"""Events for everyone who needs them: metrics, health checks, tests. Observers receive values, and can't influence
anything.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from ._schedules.moments import to_datetime
from ._tasks.extra import current_run
from ._tasks.task import Task
from ._validation.observers import check_observer, overrides
from .events import (
    AttemptEnded,
    AttemptOutcome,
    AttemptRunning,
    AttemptStarted,
    BatchStored,
    BulkFinished,
    BulkStarted,
    Claimed,
    Event,
    LeaseLost,
    OperationFinished,
    OperationStarted,
    RunEnded,
    RunOutcome,
    Sampled,
    TickFinished,
    TickStarted,
    Trigger,
)
from .record import Record
from .schedule import SkippedRange

logger: logging.Logger = logging.getLogger(__name__)


Carrier = Callable[[], str | None]
"""Returns the context to store with an instance that is being scheduled; None for nothing."""

LONGEST_CARRIED = 512
"""The maximum number of characters of a carrier's context; the rest is truncated."""


class Observer:
    """Base class with a method for each event; override those of interest.

    Each takes the event, a value from :mod:`pyncette.events`, as its only argument. Methods are called synchronously on
    the event loop and should return immediately. A method that raises is logged once and does no harm.

    :ivar awake: whether it wants events; checked when it is added, and whenever a pass of the poll loop or a bulk call
        starts. For observers that have nothing to do for now: events without a listener are never made.
    """

    awake: bool = True

    def tick_started(self, event: TickStarted, /) -> None:
        """A pass of the poll loop starts."""

    def tick_finished(self, event: TickFinished, /) -> None:
        """A pass of the poll loop has ended."""

    def operation_started(self, event: OperationStarted, /) -> None:
        """A repository method is called."""

    def operation_finished(self, event: OperationFinished, /) -> None:
        """A repository method has returned or raised."""

    def claimed(self, event: Claimed, /) -> None:
        """A tick has claimed what was ready."""

    def batch_stored(self, event: BatchStored, /) -> None:
        """Several writes were sent to the storage together."""

    def sampled(self, event: Sampled, /) -> None:
        """This worker has sampled its own state, and perhaps the storage."""

    def bulk_started(self, event: BulkStarted, /) -> None:
        """A call about many instances starts."""

    def bulk_finished(self, event: BulkFinished, /) -> None:
        """A call about many instances has ended."""

    def attempt_started(self, event: AttemptStarted, /) -> None:
        """An execution starts."""

    def attempt_running(self, event: AttemptRunning, /) -> None:
        """An attempt is still running after half of a lease."""

    def attempt_ended(self, event: AttemptEnded, /) -> None:
        """An attempt has ended, or was given back before it started."""

    def lease_lost(self, event: LeaseLost, /) -> None:
        """A lease was lost before the end of its attempt was stored."""

    def run_ended(self, event: RunEnded, /) -> None:
        """A run has its outcome, and the outcome is stored."""


class SamplingObserver(Observer):
    """An observer of only some attempts: for the others, no event is made."""

    def takes(self, task: str, key: str, fencing_token: int, carried: str | None, /) -> str | None:
        """Whether it wants events about an attempt that starts: None if not; otherwise a text, which the events of the
        storage calls for this attempt carry (:attr:`pyncette.events.OperationStarted.carried`).

        :param carried: as :attr:`pyncette.events.AttemptStarted.carried`.
        """
        return ""

    def took(self, key: str, fencing_token: int, /) -> bool:
        """Whether it wants the event that this attempt has ended."""
        return True


EVENTS: dict[str, type[Event]] = {
    "tick_started": TickStarted,
    "tick_finished": TickFinished,
    "operation_started": OperationStarted,
    "operation_finished": OperationFinished,
    "claimed": Claimed,
    "batch_stored": BatchStored,
    "sampled": Sampled,
    "bulk_started": BulkStarted,
    "bulk_finished": BulkFinished,
    "attempt_started": AttemptStarted,
    "attempt_running": AttemptRunning,
    "attempt_ended": AttemptEnded,
    "lease_lost": LeaseLost,
    "run_ended": RunEnded,
}
"""The event that each method of an observer takes."""


class Observers:
    """Passes events to observers, and keeps their failures away from the scheduler.

    The methods create an event from the caller's data, and only if an observer listens to it.

    :ivar listening: whether any observer listens.
    :ivar worker: the process's name in events.
    :ivar carrier: returns the context to store with an instance when it is scheduled.
    """

    def __init__(self) -> None:
        self.listening: bool = False
        self.worker: str = ""
        self.carrier: Carrier | None = None
        self._observers: list[Observer] = []
        self._awake: list[bool] = []
        self._sampling = False  # whether an observer selects attempts
        self._listeners: dict[str, list[_Listener]] = {}  # only events that have listeners

    def __bool__(self) -> bool:
        return self.listening

    def add(self, observer: Observer) -> None:
        """:raises TypeError: it is not a valid observer."""
        check_observer(observer, Observer, EVENTS)
        self._observers.append(observer)
        self._listen()

    def _listen(self) -> None:
        """Register the listeners of all observers that are awake."""
        self._awake = [observer.awake for observer in self._observers]
        known = {
            (id(listener.observer), listener.name): listener for every in self._listeners.values() for listener in every
        }
        self._listeners = {}
        self._sampling = any(isinstance(observer, SamplingObserver) for observer in self._observers)
        for observer, awake in zip(self._observers, self._awake, strict=True):
            for name in EVENTS if awake else ():
                if overrides(observer, Observer, name):
                    listener = known.get((id(observer), name)) or _Listener(observer, name)
                    self._listeners.setdefault(name, []).append(listener)
        self.listening = bool(self._listeners)

    def carried(self) -> str | None:
        """The carrier's context, to be stored with an instance that is being scheduled."""
        if self.carrier is None:
            return None
        try:
            carried = self.carrier()
        except Exception:
            self.carrier = None
            logger.exception("The carrier failed; it is not called again.")
            return None
        return carried[:LONGEST_CARRIED] if carried else None

    def has_listeners(self, name: str) -> bool:
        return name in self._listeners

    def tell(self, name: str, **fields: Any) -> None:
        """Create and emit one of the rarer events, which is identified by the observer's method."""
        if listeners := self._listeners.get(name):
            _notify(listeners, EVENTS[name](worker=self.worker, **fields))

    def look_who_is_awake(self) -> None:
        """Stop notifying observers that have nothing to do any more, and resume notifying the others."""
        if self._awake != [observer.awake for observer in self._observers]:
            self._listen()

    def tick_started(self) -> None:
        self.look_who_is_awake()
        if listeners := self._listeners.get("tick_started"):
            _notify(listeners, TickStarted(worker=self.worker))

    def tick_finished(self, *, duration: float, error: BaseException | None) -> None:
        if listeners := self._listeners.get("tick_finished"):
            _notify(listeners, TickFinished(worker=self.worker, duration=duration, error=error))

    def operation_started(self, *, operation: str, task_name: str, carried: Sequence[str] = ()) -> None:
        if listeners := self._listeners.get("operation_started"):
            event = OperationStarted(worker=self.worker, operation=operation, task=task_name, carried=tuple(carried))
            _notify(listeners, event)

    def operation_finished(
        self, *, operation: str, task_name: str, duration: float, error: BaseException | None
    ) -> None:
        if listeners := self._listeners.get("operation_finished"):
            event = OperationFinished(
                worker=self.worker, operation=operation, task=task_name, duration=duration, error=error
            )
            _notify(listeners, event)

    def claimed(self, *, count: int, lag: float) -> None:
        if listeners := self._listeners.get("claimed"):
            _notify(listeners, Claimed(worker=self.worker, count=count, lag=lag))

    def batch_stored(self, *, size: int) -> None:
        if listeners := self._listeners.get("batch_stored"):
            _notify(listeners, BatchStored(worker=self.worker, size=size))

    def attempt_started(self, task: Task, record: Record, *, lag: float, carried: str | None = None) -> str | None:
        """Returns the context that storage calls about the attempt carry."""
        listeners, carries = self._listeners.get("attempt_started"), None
        if listeners and self._sampling:
            identity = (task.template.name, task.canonical_name, record.fence, carried)
            chosen = [(listener, listener.takes(*identity)) for listener in listeners]
            listeners = [listener for listener, text in chosen if text is not None]
            carries = next((text for _, text in chosen if text), None)
        if listeners:
            event = AttemptStarted(**self._run(task, record), attempt=record.attempt, lag=lag, carried=carried)
            _notify(listeners, event)
        return carries

    def attempt_running(self, task: Task, record: Record, *, duration: float) -> None:
        if listeners := self._listeners.get("attempt_running"):
            _notify(listeners, AttemptRunning(**self._run(task, record), attempt=record.attempt, duration=duration))

    def attempt_ended(
        self,
        task: Task,
        record: Record,
        outcome: AttemptOutcome,
        *,
        reason: str = "",
        lag: float | None = None,
        duration: float | None = None,
        error: BaseException | None = None,
    ) -> None:
        listeners = self._listeners.get("attempt_ended")
        if listeners and self._sampling:
            identity = (task.canonical_name, record.fence)
            listeners = [listener for listener in listeners if listener.took(*identity)]
        if listeners:
            event = AttemptEnded(
                **self._run(task, record),
                attempt=record.attempt,
                outcome=outcome,
                reason=reason,
                lag=lag,
                duration=duration,
                error=error,
            )
            _notify(listeners, event)

    def lease_lost(self, task: Task, record: Record) -> None:
        if listeners := self._listeners.get("lease_lost"):
            _notify(listeners, LeaseLost(**self._run(task, record), attempt=record.attempt))

    def attempt_lost(self, task: Task, record: Record, worker: str) -> None:
        """The attempt before the claim of ``record`` was lost with ``worker``."""
        if listeners := self._listeners.get("attempt_ended"):
            reason = f"lost with its worker {worker}" if worker else "lost with its worker"
            fields = self._run(task, record)
            fields["fencing_token"] = None
            _notify(listeners, AttemptEnded(**fields, attempt=record.attempt - 1, outcome="lost", reason=reason))

    def run_ended(
        self,
        task: Task,
        record: Record,
        outcome: RunOutcome,
        *,
        scheduled_at: int,
        attempts: int,
        reason: str = "",
        error: BaseException | None = None,
    ) -> None:
        if listeners := self._listeners.get("run_ended"):
            fields = self._run(task, record)
            fields["scheduled_at"] = to_datetime(scheduled_at)
            _notify(listeners, RunEnded(**fields, outcome=outcome, attempts=attempts, reason=reason, error=error))

    def skipped(self, task: Task, record: Record, skip: SkippedRange, reason: str) -> None:
        """Occurrences are skipped, with a change of ``record``."""
        if listeners := self._listeners.get("run_ended"):
            fields = self._run(task, record)
            fields["scheduled_at"] = to_datetime(skip.first)
            event = RunEnded(
                **fields,
                outcome="skipped",
                reason=reason,
                attempts=0,
                last_scheduled_at=to_datetime(skip.last) if skip.count > 1 else None,
                count=skip.count,
                count_exact=skip.exact,
            )
            _notify(listeners, event)

    def _run(self, task: Task, record: Record) -> _Run:
        extra = current_run(record.state)
        return {
            "worker": self.worker,
            "task": task.template.name,
            "instance": None if task.parent_task is None else task.name,
            "key": task.canonical_name,
            "scheduled_at": to_datetime(record.due_at if extra is None else extra.at),
            "fencing_token": record.fence,
            "trigger": "schedule" if extra is None else extra.trigger,
            "run_id": None if extra is None else extra.id,
        }


class _Run(TypedDict):
    """Fields of a :class:`pyncette.events.RunEvent`."""

    worker: str
    task: str
    instance: str | None
    key: str
    scheduled_at: datetime.datetime
    fencing_token: int | None
    trigger: Trigger
    run_id: str | None


class _Listener:
    """One method of an observer."""

    __slots__ = ("_failed", "_method", "_name", "name", "observer")

    def __init__(self, observer: Observer, event: str) -> None:
        self.observer = observer
        self.name = event
        self._method: Callable[[Any], object] = getattr(observer, event)
        self._name = f"{type(observer).__qualname__}.{event}"
        self._failed = False

    def __call__(self, event: Event) -> None:
        try:
            self._method(event)
        except Exception as e:  # noqa: BLE001 - it is logged
            self._log(e)

    def takes(self, task: str, key: str, fencing_token: int, carried: str | None) -> str | None:
        """Notify an observer that selects attempts; None if it doesn't want this one."""
        if not isinstance(self.observer, SamplingObserver):
            return ""
        try:
            return self.observer.takes(task, key, fencing_token, carried)
        except Exception as e:  # noqa: BLE001 - it is logged
            self._log(e)
            return None

    def took(self, key: str, fencing_token: int) -> bool:
        if not isinstance(self.observer, SamplingObserver):
            return True
        try:
            return self.observer.took(key, fencing_token)
        except Exception as e:  # noqa: BLE001 - it is logged
            self._log(e)
            return False

    def _log(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            logger.error(
                "The observer's method %s failed; further failures are not logged.", self._name, exc_info=error
            )


def _notify(listeners: list[_Listener], event: Event) -> None:
    for listener in listeners:
        listener(event)
