"""A namespace: whether it holds Pyncette's data, and in which format.

The format is stored in a separate key, the marker, as text that people can read and restore.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyncette.errors import RepositoryException, StorageVersionException
from pyncette.migrations import Format, Migration, newest, plan
from pyncette.resources import load_migrations

from . import scripts
from .client import Client
from .keys import Keys
from .server import PROBES
from .settings import Mode, Settings
from .wire import Call, bulk

_MARKER = "Pyncette, format {written_by}, readable from {readable_from}"
_FORMAT = re.compile(r"Pyncette, format (\d+), readable from (\d+)")


@dataclass(frozen=True, slots=True)
class Schema:
    """The format that this release needs, as the migrations that lead there.

    :ivar finish: whether to run migrations after which older releases can't use the namespace.
    """

    namespace: str
    steps: Sequence[Migration[str]]
    finish: bool

    @classmethod
    def of(cls, settings: Settings) -> Schema:
        return cls(settings.namespace, migrations(), settings.finish_upgrade)

    @property
    def new(self) -> str:
        """The marker of a namespace that holds nothing yet."""
        return marker(Format(newest(self.steps), newest(self.steps)))

    def stored(self, text: str) -> Format:
        """:raises StorageVersionException: no release has written such a marker."""
        found = _FORMAT.fullmatch(text)
        if found is None:
            raise StorageVersionException(
                f"The Redis namespace {self.namespace!r} holds data of another version of Pyncette ({text[:60]!r}); it "
                "was left as it is. Use that version, or another redis_namespace."
            )
        return Format(int(found[1]), int(found[2]))

    def pending(self, text: str) -> list[Migration[str]]:
        """The migrations that a namespace with this marker needs now.

        :raises StorageVersionException: this release can't work with it.
        """
        where = f"The Redis namespace {self.namespace!r}"
        return plan(self.stored(text), self.steps, finish=self.finish, where=where, distribution="pyncette-redis")


def migrations() -> tuple[Migration[str], ...]:
    """All migrations that this release knows."""
    return load_migrations(__package__, "lua")


def marker(stored: Format) -> str:
    return _MARKER.format(written_by=stored.written_by, readable_from=stored.readable_from)


async def opened(client: Client, keys: Keys, settings: Settings, schema: Schema) -> str:
    """The marker of the namespace, which is created if the namespace is new.

    :raises RepositoryException: the user lacks a permission.
    :raises StorageVersionException: the data is not Pyncette's, or its marker is lost.
    """
    names = [keys.marker, keys.queues_name]
    if settings.mode is not Mode.CLUSTER:
        names.append(keys.legacy())  # version 1 did not support clusters
    arguments = [schema.new]
    for probe in PROBES:
        arguments += [str(len(probe)), *(word.format(key=keys.marker) for word in probe)]
    packed = [bulk(argument.encode()) for argument in arguments]
    call = Call(scripts.OPEN, keys.static.slot, [bulk(name.encode()) for name in names], packed, len(packed))
    found: str = (await client.one(call)).decode(errors="replace")
    if found.startswith("forbidden "):
        raise RepositoryException(
            f"The user may not run all that Pyncette needs on Redis at {settings.address}; not permitted on the key "
            f"{keys.marker!r}: {found.removeprefix('forbidden ')}. The documentation has the ACL rule to set."
        )
    if found == "legacy":
        raise legacy_data(settings.namespace)
    if found == "unmarked":
        raise StorageVersionException(
            f"The Redis namespace {settings.namespace!r} holds data, but the key that holds its format is gone; it was "
            f"left as it is. Restore the key if this release wrote the data: SET {keys.marker} '{schema.new}'"
        )
    return found


def legacy_data(namespace: str) -> StorageVersionException:
    return StorageVersionException(
        f"The Redis namespace {namespace!r} holds data of pyncette 1 (keys pyncette:{namespace}:…), which this version "
        "can't read; it was left as it is. Set redis_namespace to a new name, for example "
        f"{f'{namespace}-v2' if namespace else 'v2'!r}, and schedule dynamic instances again there; static tasks come "
        "by themselves. When nothing of version 1 runs any more, delete its keys."
    )
