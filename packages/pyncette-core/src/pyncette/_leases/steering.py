"""Writes that let operators pause, resume and retry single instances."""

from __future__ import annotations

from abc import abstractmethod

from pyncette._lifecycle.extra import on_schedule
from pyncette._lifecycle.steering import Steered, pause, resume, retry
from pyncette._tasks.spec import Spec
from pyncette._tasks.task import Task
from pyncette.observer import Observers
from pyncette.record import Change, Record, Ref

from .existing import OnExisting, readable
from .outcomes import report_skips


class Steer(OnExisting):
    """An operator's action on an instance or a static task.

    :param parent: the static task, or the template or partition that the instance belongs to.
    """

    def __init__(self, parent: Task, ref: Ref, observers: Observers, known: Record | None = None) -> None:
        super().__init__(ref, known)
        self.parent = parent
        self._observers = observers
        self._steered = Steered(None)

    @abstractmethod
    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        """Decide what to store for the record."""

    def change(self, record: Record, spec: Spec, now: int, revision: str) -> Change | None:
        def steered(side: Record) -> Change | None:
            self._steered = self.steer(side, spec, now, revision)
            return self._steered.change

        return on_schedule(record, steered, now=now)

    def stored(self, new: Record | None) -> None:
        before = self.known
        super().stored(new)
        if self._steered.skips and before is not None:
            _, spec = readable(before, self.ref)
            name = self.parent.name_in(before.key)
            task = self.parent.restore(name, spec.schedule, {}) if self.parent.dynamic else self.parent
            report_skips(self._observers, task, before, self._steered.skips)


class Pause(Steer):
    """Pause an instance. ``reason`` is shown to operators."""

    def __init__(self, parent: Task, ref: Ref, observers: Observers, reason: str) -> None:
        super().__init__(parent, ref, observers)
        self._reason = reason

    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        return pause(record, self._reason, now=now, revision=revision)


class Resume(Steer):
    """Resume a paused instance."""

    def __init__(self, parent: Task, ref: Ref, observers: Observers, *, catch_up: bool) -> None:
        super().__init__(parent, ref, observers)
        self._catch_up = catch_up

    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        return resume(record, spec, self.parent.policies, catch_up=self._catch_up, now=now, revision=revision)


class Retry(Steer):
    """Give a dead instance a new set of attempts."""

    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        return retry(record, spec, self.parent.policies, now=now, revision=revision)
