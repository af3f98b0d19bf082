"""Writes that create, change and remove instances."""

from __future__ import annotations

from dataclasses import replace

from pyncette._lifecycle.begin import holds_lease
from pyncette._lifecycle.moments import came_due
from pyncette._lifecycle.scheduling import paused, schedule
from pyncette._tasks.existing import IfExists, Scheduling
from pyncette._tasks.spec import LaterSpec
from pyncette._tasks.task import Task
from pyncette.errors import RepositoryUnavailableException, StorageVersionException, TaskExistsException
from pyncette.record import Change, Ref
from pyncette.schedule import Once

from .existing import as_it_is
from .revisions import new_revision
from .writes import Awaited


class Register(Awaited):
    """Schedule an instance. It is assumed to be new, which saves reading it first.

    :ivar how: what scheduling amounted to; set once it is stored.
    """

    def __init__(
        self,
        task: Task,
        if_exists: IfExists,
        next_at: int | None = None,
        *,
        to_be_paused: bool = False,
        carried: str | None = None,
    ) -> None:
        """``next_at`` overrides the schedule's next occurrence, for an instance that is copied from another storage.
        ``carried`` is the context from a carrier, such as a trace."""
        super().__init__(task.ref, None)
        self._task = task
        self._if_exists: IfExists = if_exists
        self._next_at = next_at
        self._to_be_paused = to_be_paused
        self._spec = task.new_spec()
        if carried is not None:
            self._spec, self.carried = replace(self._spec, carried=carried), carried
        self.how: Scheduling = Scheduling.CREATED

    def decide(self, now: int) -> Change | None:
        if self._may_have_run():
            raise RepositoryUnavailableException(
                f"The storage did not confirm {self.ref.key!r}, which is not stored (any more): either it never was, "
                "or it has been executed. It may be at most once, so it is not scheduled again."
            )
        first = self._spec.first(now) if self._next_at is None else self._next_at
        if first is None:
            raise ValueError(f"{self.ref.key!r} has no occurrence after now: correct its schedule or its bounds.")
        try:
            scheduled = schedule(
                self.known,
                self.ref,
                self._spec,
                first,
                ready_at=came_due(self._spec, self._task.policies, self.ref.key, first),
                if_exists=self._if_exists,
                now=now,
                revision=new_revision(),
            )
        except LaterSpec as e:
            raise StorageVersionException(
                f"What is stored of {self.ref.key!r} was {e}. It was left as it is: upgrade Pyncette here, or pass "
                'if_exists="replace" to overwrite it.'
            ) from e
        if self._to_be_paused:
            scheduled = paused(scheduled, self.known, now=now, revision=new_revision())
        self.how = scheduled.how
        return scheduled.change

    def confirm(self) -> Change | None:
        return as_it_is(self.known)

    def _may_have_run(self) -> bool:
        """Whether storing it again could execute an at-most-once one-off twice."""
        once = isinstance(self._spec.schedule, Once)
        at_most_once = not holds_lease(self._task.policies)
        unconfirmed = self.sent is not None and self.failures > 0
        return once and at_most_once and unconfirmed and self.known is None

    async def wait(self) -> None:
        """:raises TaskExistsException: the instance exists, and ``if_exists`` is ``"error"``."""
        await super().wait()
        if self.how is Scheduling.EXISTS:
            raise TaskExistsException(self._task)


class Remove(Awaited):
    """Unschedule an instance, whatever state it is in.

    :ivar existed: whether it existed.
    """

    def __init__(self, ref: Ref) -> None:
        super().__init__(ref, None, fresh=False)
        self.existed: bool = False

    def decide(self, now: int) -> Change | None:
        if self.known is None:
            return None
        self.existed = True
        return Change(self.known, None)
