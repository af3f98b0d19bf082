"""Writes by which operators steer single instances."""

from __future__ import annotations

from abc import abstractmethod

from pyncette._lifecycle.extra import on_schedule
from pyncette._lifecycle.steering import Steered, pause, resume, retry
from pyncette._tasks.spec import Spec, UndecodableSpec, decode
from pyncette._tasks.task import Task
from pyncette.errors import RepositoryException, TaskNotFoundException
from pyncette.observer import Observers
from pyncette.record import Change, Record, Ref

from .held import new_revision
from .outcomes import tell_skips
from .writer import Awaited


class Steer(Awaited):
    """An instance or a static task is steered, whatever it is doing.

    :param home: the static task, or the template or partition of the instance.
    :ivar changed: whether there was something to store.
    """

    def __init__(self, home: Task, ref: Ref, observers: Observers, known: Record | None = None) -> None:
        super().__init__(ref, known, fresh=known is not None)
        self.home = home
        self.changed: bool = False
        self._observers = observers
        self._steered = Steered(None)

    @abstractmethod
    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        """What becomes of the record."""

    def decide(self, now: int) -> Change | None:
        key = self.ref.key
        if self.known is None:
            raise TaskNotFoundException(key)
        try:
            spec, _ = decode(self.known.spec)
        except UndecodableSpec as e:
            raise RepositoryException(f"The record of {key!r} can't be read ({e}): schedule it anew.") from e

        def change(record: Record) -> Change | None:
            self._steered = self.steer(record, spec, now, new_revision())
            return self._steered.change

        return on_schedule(self.known, change, now=now)

    def stored(self, new: Record | None) -> None:
        before = self.known
        super().stored(new)
        self.changed = True
        if self._steered.skips and before is not None:
            spec, _ = decode(before.spec)
            name = self.home.name_in(before.key)
            task = self.home.restore(name, spec.schedule, {}) if self.home.dynamic else self.home
            tell_skips(self._observers, task, before, self._steered.skips)


class Pause(Steer):
    """It is paused.

    :ivar reason: for people.
    """

    def __init__(self, home: Task, ref: Ref, observers: Observers, reason: str) -> None:
        super().__init__(home, ref, observers)
        self._reason = reason

    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        return pause(record, self._reason, now=now, revision=revision)


class Resume(Steer):
    """It goes on."""

    def __init__(self, home: Task, ref: Ref, observers: Observers, *, catch_up: bool) -> None:
        super().__init__(home, ref, observers)
        self._catch_up = catch_up

    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        return resume(record, spec, self.home.policies, catch_up=self._catch_up, now=now, revision=revision)


class Retry(Steer):
    """A dead one gets fresh attempts."""

    def steer(self, record: Record, spec: Spec, now: int, revision: str) -> Steered:
        return retry(record, spec, self.home.policies, now=now, revision=revision)
