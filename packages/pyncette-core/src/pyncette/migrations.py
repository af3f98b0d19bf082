"""Versions of stored data, and the steps between them: what backends decide in the same way when they are opened.

The format of a store has a number that grows by one with each change of it. A change has two halves, in the style of
"expand and contract":

* **expand** adds what the new format needs. Processes of the release before keep working, so it is done by whichever
  process of the new release comes first, in the middle of a rolling deploy. A rollback needs no undoing.
* **contract** removes what only older releases needed. It is done once the option ``finish_upgrade=True`` says that no
  process of an older release is alive, and none will be.

A store keeps two numbers: the format that it was *written by*, which the newest expanding step sets, and the oldest one
that it is *readable from*, which the newest contracting step sets.

Everything here is pure: :func:`plan` says what is to be done. Backends do it: each step once, under a lock that does
not outlive its owner, and so that it can be repeated after a kill in the middle of it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from .errors import RepositoryException, StorageVersionException

StepT = TypeVar("StepT")
TableT = TypeVar("TableT")

COLUMNS_OF_PYNCETTE_1 = frozenset({"name", "parent_name", "locked_until", "locked_by", "execute_after", "task_spec"})
"""Of its tables, on all databases."""

_MARK = re.compile(r"Tasks of Pyncette, format (\d+), readable from (\d+)\.")


class Phase(enum.Enum):
    """The half of a change of format."""

    EXPAND = "expand"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True)
class Format:
    """A store's format, as recorded in it.

    :ivar written_by: the format to which it was expanded.
    :ivar readable_from: the oldest format whose releases can work with it.
    """

    written_by: int
    readable_from: int

    @property
    def mark(self) -> str:
        """The format as a table's comment contains it."""
        return (
            f"Tasks of Pyncette, format {self.written_by}, readable from {self.readable_from}. Pyncette reads this; "
            "keep it."
        )

    @classmethod
    def marked(cls, comment: str | None) -> Format | None:
        """The format in a table's comment; None if it is not one of ours."""
        found = _MARK.match(comment or "")
        return None if found is None else cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Migration(Generic[StepT]):
    """One step.

    :ivar version: the format that it leads to, from 1.
    :ivar name: for logs and for people who run it by hand.
    :ivar step: what the backend carries out: SQL, a script, a function.
    """

    version: int
    phase: Phase
    name: str
    step: StepT

    def after(self, stored: Format | None) -> Format:
        """The store's format once the step is done."""
        if stored is None:  # a new store only has to work with this format
            return Format(self.version, self.version)
        if self.phase is Phase.EXPAND:
            return Format(max(stored.written_by, self.version), stored.readable_from)
        return Format(stored.written_by, max(stored.readable_from, self.version))


def plan(
    stored: Format | None, migrations: Sequence[Migration[StepT]], *, finish: bool, where: str, distribution: str
) -> list[Migration[StepT]]:
    """The steps that a store needs now, in their order; none if this release can work with it as it is.

    A store that is new gets all of them. One that a later release has expanded stays as it is: that release is being
    rolled out, or was rolled back.

    :param stored: the store's format; None if it is new.
    :param migrations: all steps that this release knows, in their order.
    :param finish: whether the contracting steps may be done: no process of an older release is alive.
    :param where: how messages name the store; without credentials.
    :raises StorageVersionException: this release can't work with the store, which was left as it is.
    """
    known = newest(migrations)
    if stored is None:
        return list(migrations)
    if stored.readable_from > known:
        raise StorageVersionException(
            f"{where} has format {stored.written_by}, which can be read from format {stored.readable_from} on; this "
            f"release of {distribution} knows formats up to {known}. Nothing was changed. Upgrade {distribution}."
        )
    return [
        each
        for each in migrations
        if (each.phase is Phase.EXPAND and each.version > stored.written_by)
        or (each.phase is Phase.CONTRACT and finish and each.version > stored.readable_from)
    ]


@dataclass(frozen=True, slots=True)
class TableSchema(Generic[TableT]):
    """The schema of a table that stores its format in its comment, as the steps that create it.

    :ivar table: its name in messages.
    :ivar steps: all steps that this release knows, in order.
    :cvar backend: its name in options and packages, such as ``"postgres"``.
    """

    backend: ClassVar[str]

    table: TableT
    steps: Sequence[Migration[str]]

    def recognised(
        self, comment: str | None, columns: Collection[str], where: str, *, rename: str, restore: str
    ) -> Format:
        """The format of a table that is there.

        :param comment: the table's; None if it has none, or is no table but a view.
        :param where: the database; without credentials.
        :param rename: the statement that makes room for another table.
        :param restore: the statement that sets the comment, without the comment.
        :raises StorageVersionException: it is not a table of ours, or that of Pyncette 1.x.
        """
        stored = Format.marked(comment)
        if stored is not None:
            return stored
        other = f"It was left as it is. Give another {self.backend}_table_name"
        if COLUMNS_OF_PYNCETTE_1.issubset(columns):
            raise StorageVersionException(
                f"The table {self.table} ({where}) was written by Pyncette 1.x, and this release can't read it. "
                f"{other}, or rename the old table first: {rename}. Then schedule the instances again."
            )
        mark = Format(newest(self.steps), newest(self.steps)).mark
        raise StorageVersionException(
            f"{self.table} ({where}) is there, but its comment does not say that it is a table of Pyncette. {other}. "
            "If the table is Pyncette's and only the comment was lost, as in a dump without comments, restore it: "
            f"{restore} '{mark}'"
        )

    def pending(self, stored: Format | None, where: str, *, finish: bool, skip: bool = False) -> list[Migration[str]]:
        """The steps that the table needs now: :func:`plan`.

        :param where: the database; without credentials.
        :param skip: whether steps are run by hand: then it may need none.
        :raises StorageVersionException: this release can't work with it.
        :raises RepositoryException: there is no table, and it must not be created.
        """
        named = f"The table {self.table} ({where})"
        steps = plan(stored, self.steps, finish=finish, where=named, distribution=f"pyncette-{self.backend}")
        if not (steps and skip):
            return steps
        known = f", from_format={stored.written_by}" if stored else ""
        how = f"run what pyncette.{self.backend}.schema_sql({str(self.table)!r}{known}) returns"
        how += f", or leave out {self.backend}_skip_table_create"
        if stored is None:
            raise RepositoryException(f"There is no table {self.table} ({where}), and it must not be created: {how}.")
        raise StorageVersionException(
            f"{named} has format {stored.written_by}, this release of pyncette-{self.backend} needs format "
            f"{newest(self.steps)}: {how}."
        )


def filled(step: Migration[str], names: Mapping[str, str]) -> str:
    """The statements of a step, with ``names`` in place of their ``{placeholders}``."""
    text = step.step
    for placeholder, name in names.items():
        text = text.replace(f"{{{placeholder}}}", name)
    return text.strip()


def newest(migrations: Sequence[Migration[StepT]]) -> int:
    """The format that this release writes."""
    return max(each.version for each in migrations)


def by_hand(
    from_format: int, migrations: Sequence[Migration[StepT]], *, contract: bool
) -> list[tuple[Migration[StepT], Format | None]]:
    """The steps for users who run them manually, each with the store's format before it.

    :param from_format: the format of the store; 0 makes a new one.
    :param contract: whether to include the steps after which older releases can't use the store any more.
    :raises ValueError: there is no such format.
    """
    known = newest(migrations)
    if not 0 <= from_format <= known:
        raise ValueError(f"from_format must be from 0 to {known}, not {from_format}.")
    stored = Format(from_format, from_format) if from_format else None
    steps = []
    for each in plan(stored, migrations, finish=contract, where="", distribution=""):
        steps.append((each, stored))
        stored = each.after(stored)
    return steps
