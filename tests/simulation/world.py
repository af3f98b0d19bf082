"""A program's environment as the seed decides it: its machine's clock, and randomness."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import anyio._backends._asyncio as anyio_on_asyncio

import pyncette.clock
from pyncette import backoff
from pyncette._app import about
from pyncette._leases import revisions, store, workers
from pyncette._loop.watchdog import Watchdog

from .loop import SimulatedLoop, SimulatedTask, current_process

EPOCH = 1_767_571_200_000_000
"""Microseconds: 5 January 2026, a Monday. The true time at which each simulation begins."""


class World:
    """Replaces the modules that provide time, randomness and the identity of the process."""

    def __init__(self, loop: SimulatedLoop, rng: random.Random) -> None:
        self.loop = loop
        self.rng = rng

    @property
    def now(self) -> int:
        """The true time, in microseconds since the epoch."""
        return EPOCH + round(self.loop.time() * 1_000_000)

    # The module time.

    def time_ns(self) -> int:
        return (self.now + current_process.get().ahead) * 1000

    def monotonic_ns(self) -> int:
        return round(self.loop.time() * (1 + current_process.get().drift) * 1_000_000) * 1000

    def monotonic(self) -> float:
        return self.loop.time()

    perf_counter = monotonic

    # The modules os, socket and platform.

    def urandom(self, size: int) -> bytes:
        return self.rng.randbytes(size)

    def getpid(self) -> int:
        return 1

    def gethostname(self) -> str:
        return "simulated"

    def python_version(self) -> str:
        return "3"


def _watching(watchdog: Watchdog) -> Any:
    """The watchdog without its thread, which would run in real time."""
    return nullcontext()


@contextmanager
def installed(world: World) -> Iterator[None]:
    """Inside the block, core gets time and randomness from ``world``."""
    wanted: list[tuple[Any, str, Any]] = [
        (pyncette.clock, "time", world),
        (store, "time", world),
        (revisions, "os", world),
        (workers, "os", world),
        *((about, name, world) for name in ("os", "socket", "platform", "time")),
        (backoff, "random", world.rng),
        (Watchdog, "watching", _watching),
        (anyio_on_asyncio.CancelScope, "__hash__", _numbering()),
        (SimulatedTask, "numbers", itertools.count()),
    ]
    before = [getattr(owner, name) for owner, name, _ in wanted]
    disabled = logging.root.manager.disable
    revisions._left.clear()
    logging.disable(logging.CRITICAL)
    for owner, name, value in wanted:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(wanted, before, strict=True):
            setattr(owner, name, value)
        logging.disable(disabled)
        revisions._left.clear()


def _numbering() -> Any:
    """Makes the hashes of cancel scopes, which anyio keeps in sets, follow the order in which they are first used."""
    numbers: dict[int, tuple[int, Any]] = {}  # keeps the scope alive, so that its address is not reused

    def number(scope: Any) -> int:
        found = numbers.get(id(scope))
        if found is None:
            found = numbers[id(scope)] = len(numbers), scope
        return found[0]

    return number
