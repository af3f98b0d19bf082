"""Every exception that Pyncette raises on purpose.

Bad arguments are ordinary ``ValueError`` and ``TypeError``; everything that happens at run time derives from
:class:`PyncetteException`.
"""

from __future__ import annotations

import datetime
from typing import Protocol


class _Named(Protocol):
    """What an error needs to know of a task."""

    @property
    def canonical_name(self) -> str: ...


class PyncetteException(Exception):
    """The root of all exceptions of Pyncette."""


class LeaseLostException(PyncetteException):
    """The lease on an occurrence is lost: it expired and somebody else claimed it, or the instance was
    unscheduled or overwritten with ``force=True``.

    :ivar task: the task whose lease was lost.
    """

    def __init__(self, task: _Named) -> None:
        super().__init__(f"The lease on task {task.canonical_name!r} is lost; its result will not be recorded.")
        self.task = task


class TaskLockedException(PyncetteException):
    """An instance can't be changed while it is being executed.

    :ivar task: the task that is locked.
    :ivar locked_until: when its lease ends unless it is prolonged.
    """

    def __init__(self, task: _Named, locked_until: datetime.datetime | None = None) -> None:
        until = f" until {locked_until.isoformat()}" if locked_until else ""
        super().__init__(
            f"Task {task.canonical_name!r} is locked{until} because it is being executed. "
            "Try again later, or pass force=True to overwrite it together with its lease."
        )
        self.task = task
        self.locked_until = locked_until


class RepositoryException(PyncetteException):
    """The storage refused an operation, or can't be used as it is configured."""


class RepositoryUnavailableException(RepositoryException):
    """The storage could not be reached or did not answer in time.

    The outcome of a write is unknown. Trying again later may succeed.
    """


class RecordRefusedException(RepositoryException):
    """The storage will never take this record, for example because it is larger than the storage allows."""


class StorageVersionException(RepositoryException):
    """The storage holds data of another version of Pyncette. It was left as it is."""
