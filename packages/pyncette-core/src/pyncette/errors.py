"""Every exception that Pyncette raises on purpose, and those that a task raises to control its run.

Bad arguments are ordinary ``ValueError`` and ``TypeError``; everything that happens at run time derives from
:class:`PyncetteException`.
"""

from __future__ import annotations

import datetime
from typing import Protocol

from pyncette._validation.parameters import corrects_keywords


class _Named(Protocol):
    """The part of a task that errors use."""

    @property
    def canonical_name(self) -> str: ...


class PyncetteException(Exception):
    """The root of all exceptions of Pyncette."""


class LeaseLostException(PyncetteException):
    """The lease on an occurrence is lost: it expired and another worker claimed it, or the instance was unscheduled or
    overwritten with ``force=True``.

    :ivar task: the task whose lease was lost.
    """

    def __init__(self, task: _Named) -> None:
        super().__init__(f"The lease on task {task.canonical_name!r} is lost; its result will not be recorded.")
        self.task = task


class TaskLockedException(PyncetteException):
    """An instance can't be changed while it is being executed. Since 2.0 it can, and this is not raised any more; it
    exists so that programs that catch it keep working.
    """


class TaskExistsException(PyncetteException):
    """An instance was scheduled with ``if_exists="error"``, and exists.

    :ivar task: the instance.
    """

    def __init__(self, task: _Named) -> None:
        super().__init__(
            f"The instance {task.canonical_name!r} exists already. "
            'Pass if_exists="update", "keep" or "replace" if it may.'
        )
        self.task = task


class ArgumentsException(PyncetteException):
    """The stored arguments of an execution don't fit the task function: it was changed since they were stored. The
    execution has failed; see ``docs/typed_arguments.md`` for how to change arguments.
    """


class TaskNotFoundException(PyncetteException):
    """There is no such instance, or no worker has stored the static task yet.

    :ivar key: its canonical name.
    """

    def __init__(self, key: str, *, static: bool = False) -> None:
        super().__init__(
            f"The task {key!r} is not stored yet: the first worker that executes it stores it."
            if static
            else f"There is no instance {key!r}."
        )
        self.key = key


class TooManyRunsException(PyncetteException):
    """An instance was triggered, but too many runs are already waiting."""


class PartitionCountException(PyncetteException):
    """A partitioned task is declared with a different ``partition_count`` than its instances are stored with. They
    would be looked for in the wrong partitions."""

    def __init__(self, name: str, *, declared: int, stored: int) -> None:
        super().__init__(
            f"The task {name!r} is declared with partition_count={declared}, but its instances are stored in {stored} "
            f"partitions. Declare it with partition_count={stored}; or declare a task of another name with {declared}, "
            "schedule the instances under it, and purge the old one. If it has no instances any more, stop the workers "
            f"that execute it, and forget the old number: pyncette purge {name}."
        )


class RepositoryException(PyncetteException):
    """The storage refused an operation, or can't be used as it is configured."""


class RepositoryUnavailableException(RepositoryException):
    """The storage could not be reached or did not answer in time.

    The outcome of a write is unknown. Trying again later may succeed.
    """


class RecordRefusedException(RepositoryException):
    """The storage will never take this record, for example because it is larger than the storage allows."""


class UnsupportedException(RepositoryException):
    """The storage lacks an optional capability, such as the log of runs."""


class OrphansUnknownException(RepositoryException):
    """Which tasks are orphans can't be determined yet: a worker has not stored all the tasks that it executes. Trying
    again in a few minutes will succeed.
    """


class StorageVersionException(RepositoryException):
    """The storage holds data of another version of Pyncette. It was left as it is."""


class Steering(Exception):
    """What a task raises to control its run. Neither a bug in the task nor a failure of Pyncette."""


def _text(reason: object) -> str:
    """Of whatever is given: a ``TypeError`` from here would count as a failure of the task, and be retried."""
    return "" if reason is None else str(reason)


_REASONS = dict.fromkeys(("cause", "error", "exc", "exception", "message", "msg", "why"), "reason='…'")


@corrects_keywords(
    dict.fromkeys(("countdown", "delay", "interval", "seconds", "wait"), "after=timedelta(seconds=…)") | _REASONS
)
class RetryLater(Steering):
    """The run is executed again later. Uses up no attempt, and needs no ``retry`` policy.

    At most once means that there is no further attempt: the run has failed.

    :param after: how long to wait; not negative.
    :param reason: for logs and the list of recent runs, which keeps 500 characters: a text, or an error.
    :param count: whether it counts as a failed attempt, so that ``retry`` limits it.
    :raises TypeError: ``after`` is no ``timedelta``.
    :raises ValueError: ``after`` is negative.
    """

    def __init__(self, after: datetime.timedelta, reason: str | BaseException = "", *, count: bool = False) -> None:
        if not isinstance(after, datetime.timedelta):
            raise TypeError(
                f"after must be a timedelta, not {after!r}: write RetryLater(datetime.timedelta(seconds=…))."
            )
        if after < datetime.timedelta(0):
            raise ValueError(f"after must not be negative, but is {after!r}.")
        super().__init__(after, reason)
        self.after = after
        self.reason: str = _text(reason)
        self.count = count

    def __str__(self) -> str:
        return self.reason or f"again after {self.after}"


@corrects_keywords(_REASONS)
class GiveUp(Steering):
    """The run has failed, and there is no further attempt, whatever ``retry`` says; ``on_exhausted`` applies.

    :param reason: for logs and the list of recent runs, which keeps 500 characters: a text, or an error.
    """

    def __init__(self, reason: str | BaseException = "") -> None:
        super().__init__(reason)
        self.reason: str = _text(reason)


@corrects_keywords(_REASONS)
class Skip(Steering):
    """The run ends as ``skipped``, with the reason ``by_task``: there was nothing to do.

    :param reason: for logs and the list of recent runs, which keeps 500 characters: a text, or an error.
    """

    def __init__(self, reason: str | BaseException = "") -> None:
        super().__init__(reason)
        self.reason: str = _text(reason)
