"""Failovers: of Redis by its sentinels or its cluster, of PostgreSQL to a standby that is promoted."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Protocol

from tests.servers.cache import Unavailable
from tests.servers.model import Server
from tests.servers.postgres_standby import Pair
from tests.servers.process import succeeds, wait_until
from tests.servers.redis import answers, command
from tests.servers.redis_groups import is_replicated

TIMEOUT_SECONDS = 40
NEVER = 600_000
"""Milliseconds of silence after which sentinels consider a master dead. A master that is only slow, as on a busy
machine, must not be replaced: writes that its replica lacks would be lost, and no fault would explain that."""
NODE_TIMEOUT = 6_000
"""The same for the nodes of a cluster, which vote about a master at most once in twice this time."""
VOTE_SECONDS = 6.0
"""Seconds to wait for an election, as a replica requests votes for five seconds."""
HELD = 2_000 * TIMEOUT_SECONDS
"""Milliseconds for which writes are held: longer than the replica may need, so that no write is acknowledged after it
has caught up."""
CAUGHT_UP = "death of a master whose replica has all"
"""Otherwise the last acknowledged writes may not have reached the replica, and then nothing is promised."""
HANDED_OVER = "a master hands over to its replica"

Address = tuple[str, int]


class FailOver(Protocol):
    """A way for a store to lose its master.

    :ivar forms: its variants.
    """

    forms: tuple[str, ...]

    def fail_over(self, form: str, choice: int) -> Address | None:
        """Fail over, and return the address that clients must connect to now; None if they find it themselves.
        ``choice`` is any number; it selects one of several masters."""

    def recover(self) -> None:
        """Restart the lost server as a replica, so that another failover is possible."""


@dataclass(slots=True)
class Promotion:
    """PostgreSQL: the primary is killed, and its synchronous standby is promoted."""

    pair: Pair
    forms: tuple[str, ...] = ("standby promoted",)

    def fail_over(self, form: str, choice: int) -> Address:
        primary = self.pair.fail_over()
        return primary.host, primary.port

    def recover(self) -> None:
        self.pair.rejoin()


class Sentinels:
    """Redis: sentinels are told to promote the replica."""

    forms: tuple[str, ...] = (CAUGHT_UP,)

    def __init__(self, server: Server) -> None:
        self._server = server
        self._service = server.service or ""
        self._lost: Server | None = None
        for sentinel in server.sentinels:
            command(sentinel.port, "SENTINEL", "SET", self._service, "down-after-milliseconds", NEVER)

    def fail_over(self, form: str, choice: int) -> None:
        port = self._master()
        self._lost = next(node for node in self._server.nodes if node.port == port)
        hold_writes(port)
        self._lost.stop(kill=True)
        wait_until(lambda: succeeds(self._tell), TIMEOUT_SECONDS)
        wait_until(lambda: succeeds(lambda: self._master() != port), TIMEOUT_SECONDS)

    def _tell(self) -> bool:
        """
        :raises ValueError: the sentinel doesn't know a suitable replica yet.
        """
        return bool(command(self._server.sentinels[0].port, "SENTINEL", "FAILOVER", self._service) == "OK")

    def recover(self) -> None:
        assert self._lost is not None
        self._lost.start()
        wait_until(lambda: succeeds(lambda: is_replicated(self._master())), TIMEOUT_SECONDS)

    def _master(self) -> int:
        """The master, if all sentinels agree on it.

        :raises ValueError: they don't agree.
        """
        ports = {
            int(command(sentinel.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)[1])
            for sentinel in self._server.sentinels
        }
        if len(ports) > 1:
            raise ValueError(f"the sentinels know {len(ports)} masters")
        return ports.pop()


class Cluster:
    """Redis: a master hands over to its replica, which the other nodes elect, or it is killed and the replica takes
    over."""

    forms: tuple[str, ...] = (HANDED_OVER, CAUGHT_UP)

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lost: Server | None = None

    def fail_over(self, form: str, choice: int) -> None:
        pairs = sorted(self._replicas().items())
        master, replica = pairs[choice % len(pairs)]
        if form == HANDED_OVER:
            wait_until(lambda: _is_elected(replica), TIMEOUT_SECONDS)
            return
        self._lost = next(node for node in self._server.nodes if node.port == master)
        hold_writes(master)
        self._lost.stop(kill=True)
        command(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
        wait_until(lambda: succeeds(lambda: _is_master(replica)), TIMEOUT_SECONDS)

    def recover(self) -> None:
        if self._lost is not None:
            self._lost.start()
            self._lost = None
        wait_until(lambda: succeeds(lambda: len(self._replicas()) == len(self._server.nodes) // 2), TIMEOUT_SECONDS)

    def _replicas(self) -> dict[int, int]:
        """The port of each master's replica, by the master's port, once the replica has the data."""
        found = {}
        for node in self._server.nodes:
            told = command(node.port, "INFO", "replication")
            if "role:master" in told and (replica := re.search(r"port=(\d+),state=online", told)):
                found[node.port] = int(replica[1])
        return found


def hold_writes(port: int) -> None:
    """Keep a master from acknowledging further writes, and return once its replica has all those acknowledged."""
    command(port, "CLIENT", "PAUSE", HELD, "WRITE")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        told = command(port, "INFO", "replication")
        offset, replica = re.search(r"master_repl_offset:(\d+)", told), re.search(r"offset=(\d+),lag", told)
        if offset and replica and offset[1] == replica[1]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("the replica does not catch up")
        time.sleep(0.01)


def _is_elected(replica: int) -> bool:
    """Make a replica request votes to take over from its live master. Returns whether it won; it may be too early."""
    command(replica, "CLUSTER", "FAILOVER")
    try:
        wait_until(lambda: succeeds(lambda: _is_master(replica)), VOTE_SECONDS)
    except Unavailable:
        return False
    return True


def _is_master(port: int) -> bool:
    return answers(port) and "role:master" in command(port, "INFO", "replication")
