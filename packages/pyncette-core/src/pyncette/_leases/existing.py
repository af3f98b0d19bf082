"""Writes that change an existing instance or static task, based on its stored record."""

from __future__ import annotations

from abc import abstractmethod

from pyncette import lease
from pyncette._tasks.names import name_of
from pyncette._tasks.spec import LaterSpec, Spec, UndecodableSpec, decode
from pyncette._tasks.state import check_version
from pyncette.errors import RepositoryException, StorageVersionException, TaskNotFoundException
from pyncette.record import Change, Record, Ref

from .revisions import new_revision
from .writes import Awaited


class OnExisting(Awaited):
    """A change to an existing instance or static task, whatever state it is in.

    :ivar changed: whether there was something to change; set once it is stored.
    """

    def __init__(self, ref: Ref, known: Record | None = None) -> None:
        super().__init__(ref, known, fresh=known is not None)
        self.changed: bool = False

    @abstractmethod
    def change(self, record: Record, spec: Spec, now: int, revision: str) -> Change | None:
        """The change to store; None if there is nothing to store."""

    def decide(self, now: int) -> Change | None:
        record, spec = readable(self.known, self.ref)
        change = self.change(record, spec, now, new_revision())
        self.changed = change is not None
        return change

    def confirm(self) -> Change | None:
        return as_it_is(self.known)


def as_it_is(record: Record | None) -> Change | None:
    """A change that only replaces the record's revision; None if there is no record."""
    if record is None:
        return None
    return lease.note(record, state=record.state, revision=new_revision())


def readable(record: Record | None, ref: Ref) -> tuple[Record, Spec]:
    """The record and its decoded schedule.

    :raises TaskNotFoundException: there is no record.
    :raises StorageVersionException: a later version wrote it.
    :raises RepositoryException: it is damaged.
    """
    key = name_of(ref.key)
    if record is None:
        raise TaskNotFoundException(key, static=key != ref.key)
    try:
        check_version(record.state)
        spec, _ = decode(record.spec, record.due_at)
    except LaterSpec as e:
        raise StorageVersionException(f"What is stored of {key!r} was {e}: upgrade Pyncette here.") from e
    except UndecodableSpec as e:
        raise RepositoryException(f"What is stored of {key!r} can't be read ({e}): schedule it again.") from e
    return record, spec
