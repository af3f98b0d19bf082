"""What tests see of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

USER = "test"
PASSWORD = "test-pw"
DATABASE = "test"


class Control(Protocol):
    """Power over a server's processes. Data survive a stop, by SIGKILL too; the address stays."""

    def start(self) -> None:
        """Start it and wait until it takes clients."""

    def stop(self, *, kill: bool = False) -> None:
        """Stop it; with `kill` by SIGKILL, as a crash would."""

    def pause(self) -> None:
        """Make it hang: connections stay open, nothing is answered."""

    def resume(self) -> None:
        """End a pause."""

    def discard(self) -> None:
        """End it and remove its data."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes clients. Of a group (cluster, sentinels) `host` and `port` are the first one's."""

    kind: str
    url: str = field(repr=False)  # it has the password in it
    host: str
    port: int
    control: Control = field(repr=False, compare=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    # Of a cluster its nodes; of a set with sentinels the servers that they watch, the first one the master at first.
    nodes: tuple[Server, ...] = ()
    sentinels: tuple[Server, ...] = ()
    certificate_authority: Path | None = None  # by which a server that speaks TLS can be verified, but for its name
    service: str | None = None  # the name under which sentinels know the master

    @property
    def endpoint(self) -> str:
        """The address as DynamoDB's clients call it."""
        return self.url

    def restart(self, *, kill: bool = False) -> None:
        """Stop it (with `kill` by SIGKILL) and start it on the same data and address; wait until it takes clients."""
        self.control.stop(kill=kill)
        self.control.start()

    def stop(self, *, kill: bool = False) -> None:
        """Stop it, with `kill` by SIGKILL. The data stay."""
        self.control.stop(kill=kill)

    def start(self) -> None:
        """Start it after `stop`, on the same data and address; wait until it takes clients."""
        self.control.start()

    def pause(self) -> None:
        """Make it hang: connections stay open, nothing is answered."""
        self.control.pause()

    def resume(self) -> None:
        """End a pause."""
        self.control.resume()
