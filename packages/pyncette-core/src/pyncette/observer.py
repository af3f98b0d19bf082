"""What happens inside, told to whoever wants to know: metrics, health checks, tests. Values out, no steering."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._tasks.task import Task

logger: logging.Logger = logging.getLogger(__name__)


class Observer:
    """Base class with a method for each event; override those of interest.

    Methods are called synchronously on the event loop and should return at once. One that raises is logged once and
    harms nothing. Durations and lags are in seconds.
    """

    def tick_started(self) -> None:
        """A pass of the poll loop begins."""

    def tick_finished(self, *, duration: float, error: BaseException | None) -> None:
        """The pass has ended; ``error`` is what made it fail."""

    def operation_started(self, *, operation: str, task_name: str) -> None:
        """A repository method is called. ``task_name`` is the template's, empty where the call serves several."""

    def operation_finished(
        self, *, operation: str, task_name: str, duration: float, error: BaseException | None
    ) -> None:
        """The repository method has returned or raised."""

    def claimed(self, *, count: int, lag: float) -> None:
        """A tick claimed so many occurrences, of which the oldest was due ``lag`` ago; 0 when there is none."""

    def execution_started(self, *, task: Task, lag: float) -> None:
        """An execution begins, ``lag`` after the moment when it was due."""

    def execution_finished(self, *, task: Task, duration: float, error: BaseException | None) -> None:
        """An execution has ended; ``error`` is what the task raised, a cancellation included."""

    def lease_lost(self, *, task: Task) -> None:
        """A lease was lost before the execution was settled."""

    def settled(self, *, batch: int) -> None:
        """So many writes went to the storage together."""


class Observers(Observer):
    """Passes every event on to several observers and keeps their failures away from the scheduler."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []
        self._failed: set[tuple[int, str]] = set()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def _tell(self, event: str, **values: object) -> None:
        for observer in self._observers:
            try:
                getattr(observer, event)(**values)
            except Exception:
                if (id(observer), event) not in self._failed:
                    self._failed.add((id(observer), event))
                    logger.exception("Observer %r failed in %s; this is said once.", observer, event)

    def tick_started(self) -> None:
        self._tell("tick_started")

    def tick_finished(self, *, duration: float, error: BaseException | None) -> None:
        self._tell("tick_finished", duration=duration, error=error)

    def operation_started(self, *, operation: str, task_name: str) -> None:
        self._tell("operation_started", operation=operation, task_name=task_name)

    def operation_finished(
        self, *, operation: str, task_name: str, duration: float, error: BaseException | None
    ) -> None:
        self._tell("operation_finished", operation=operation, task_name=task_name, duration=duration, error=error)

    def claimed(self, *, count: int, lag: float) -> None:
        self._tell("claimed", count=count, lag=lag)

    def execution_started(self, *, task: Task, lag: float) -> None:
        self._tell("execution_started", task=task, lag=lag)

    def execution_finished(self, *, task: Task, duration: float, error: BaseException | None) -> None:
        self._tell("execution_finished", task=task, duration=duration, error=error)

    def lease_lost(self, *, task: Task) -> None:
        self._tell("lease_lost", task=task)

    def settled(self, *, batch: int) -> None:
        self._tell("settled", batch=batch)
