"""A server as tests see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

USER = "test"
PASSWORD = "test-pw"
DATABASE = "test"


class Control(Protocol):
    """Controls a server's processes. Data survive a stop, even by SIGKILL, and the address stays the same."""

    def start(self) -> None:
        """Start it and wait until it accepts clients."""

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
    """A running server. For a group (cluster, sentinels), `host` and `port` are those of the first one."""

    kind: str
    url: str = field(repr=False)  # it contains the password
    host: str
    port: int
    control: Control = field(repr=False, compare=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    # The nodes of a cluster, or the servers watched by sentinels, of which the first one is the initial master.
    nodes: tuple[Server, ...] = ()
    sentinels: tuple[Server, ...] = ()
    certificate_authority: Path | None = None  # for verifying a server with TLS, except for its name
    service: str | None = None  # the name under which sentinels know the master

    @property
    def endpoint(self) -> str:
        """The address in the form that DynamoDB's clients expect."""
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
