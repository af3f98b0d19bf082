"""PostgreSQL with a synchronous standby: acknowledged writes survive the loss of the primary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .cache import run
from .model import PASSWORD, USER, Server
from .postgres import ENVIRONMENT, SETTINGS, Postgres
from .process import Session
from .trees import Tree

POSTGRES_15_AND_TOOLS = Tree("postgres-standby", "bookworm", ("postgresql-15", "postgresql-client-15"))
"""With ``pg_basebackup``."""

REPLICATING = {
    **SETTINGS,
    "wal_level": "replica",
    "max_wal_senders": "4",
    "hot_standby": "on",
    "synchronous_commit": "on",
    "synchronous_standby_names": "*",  # a commit waits until the standby has it, or for one to come
}


@dataclass(slots=True)
class Pair:
    """A primary and its standby, which can swap roles, and the control of both together.

    :ivar primary: the server that accepts writes now.
    """

    provider: PostgresStandby
    session: Session
    options: Sequence[str]
    primary: Server
    standby: Server
    places: dict[int, Path] = field(default_factory=dict)

    def fail_over(self) -> Server:
        """Kill the primary and promote the standby, which is returned. It acknowledges writes once :meth:`rejoin` has
        given it a standby of its own."""
        self.primary.stop(kill=True)
        self.provider.promote(self.places[self.standby.port])
        self.primary, self.standby = self.standby, self.primary
        return self.primary

    def rejoin(self) -> None:
        """Replace the server that was killed by a copy of the new primary, as its standby."""
        self.standby.control.discard()
        place = self.provider.clone(self.session, self.primary)
        self.standby = self.provider.start_in(place, self.session, self.options)
        self.places[self.standby.port] = place

    def start(self) -> None:
        self.primary.start()
        self.standby.start()

    def stop(self, *, kill: bool = False) -> None:
        self.primary.stop(kill=kill)
        self.standby.stop(kill=kill)

    def pause(self) -> None:
        self.primary.pause()
        self.standby.pause()

    def resume(self) -> None:
        self.primary.resume()
        self.standby.resume()

    def discard(self) -> None:
        self.standby.control.discard()
        self.primary.control.discard()


class PostgresStandby(Postgres):
    """Provides a primary and a standby: ``nodes``. The control of both is a :class:`Pair`."""

    def start(self, session: Session, *options: str) -> Server:
        place = session.make_folder(self.kind)
        run("cp", "--archive", "--reflink=auto", self._template(), place / "data")
        primary = self.start_in(place, session, options)
        copy = self.clone(session, primary)
        standby = self.start_in(copy, session, options)
        pair = Pair(self, session, options, primary, standby, {primary.port: place, standby.port: copy})
        return replace(primary, control=pair, nodes=(primary, standby))

    def start_in(self, place: Path, session: Session, options: Sequence[str]) -> Server:
        """Start a server on the data in this folder: a standby, if they are a clone."""
        return self._start_in(place, session, REPLICATING, options)

    def clone(self, session: Session, primary: Server) -> Path:
        """Copy the data of a running server, for a standby of it."""
        place = session.make_folder(self.kind)
        where = f"--host={primary.host} --port={primary.port} --username={USER} --no-password"
        how = "--write-recovery-conf --checkpoint=fast --wal-method=stream --no-sync"
        command = self._command("pg_basebackup", f"--pgdata={place / 'data'}", *where.split(), *how.split())
        run(*command, env={**ENVIRONMENT, "PGPASSWORD": PASSWORD}, cwd=Path("/"))
        return place

    def promote(self, place: Path) -> None:
        """Make a primary of a standby, and wait until it is one."""
        run(
            *self._command("pg_ctl", "promote", "--wait", f"--pgdata={place / 'data'}"),
            env=ENVIRONMENT,
            cwd=Path("/"),
        )
