"""How a supervisor and its workers know of each other: two pipes.

A pipe is closed by the kernel when its last owner dies, even by SIGKILL, on every system, and whatever the parent of an
orphan is then.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field

import anyio

GRACE = 10.0
"""Seconds that the executions of a worker have to end when its supervisor is gone."""


@dataclass(slots=True)
class Lifeline:
    """The supervisor's ends. Its own are closed in the workers, as descriptors are unless they are passed on."""

    _alive: tuple[int, int] = field(default_factory=os.pipe)
    _ready: tuple[int, int] = field(default_factory=os.pipe)

    @property
    def descriptors(self) -> tuple[int, int]:
        """What a worker gets: an end that it reads from, and one that it writes to."""
        return self._alive[0], self._ready[1]

    async def ready(self) -> None:
        """Return when a worker has said that it is ready."""
        await anyio.wait_readable(self._ready[0])


@dataclass(frozen=True, slots=True)
class Supervised:
    """A worker's ends.

    :ivar number: which worker it is, from 1.
    """

    number: int
    alive: int
    ready: int

    @classmethod
    def parse(cls, text: str) -> Supervised:
        """From the option that the supervisor gives."""
        return cls(*map(int, text.split(",")))

    def say_ready(self) -> None:
        """The app runs: its storage is open."""
        os.write(self.ready, b".")

    def watch(self) -> None:
        """End this process when the supervisor is gone: gracefully, and after ``GRACE`` at once."""
        for descriptor in (self.alive, self.ready):
            os.set_inheritable(descriptor, False)  # what the app starts must not hold the supervisor's end
        threading.Thread(target=self._wait, name="supervisor", daemon=True).start()

    def _wait(self) -> None:
        os.read(self.alive, 1)  # nobody ever writes
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(128 + signal.SIGTERM)
