"""Stores that fail when clients come and go, or whose clock is wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel

from pyncette.memory import MemoryRepository
from pyncette.record import Change, QueueClaim, Record, Ref
from pyncette.testing import Capabilities
from tests.contract.broken import caught_by

# Clients and clocks


@caught_by("test_the_first_client_closes_first")
class ClosingEndsLeases(MemoryRepository):
    async def close(self) -> None:
        for one in [one for one in self._records.values() if one.locked_by]:
            await self.swap([Change(one, replace(one, locked_by=None, locked_until=None, ready_at=one.due_at))])


@caught_by("test_the_first_client_closes_first")
class ClosingClosesForAll(MemoryRepository):
    closed = False

    async def close(self) -> None:
        self.closed = True

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        assert not self.closed, "closed"
        return await super().read(refs)


@caught_by("test_opening_cancelled_again_and_again")
class OpeningKeepsItsConnection(MemoryRepository):
    def __init__(self) -> None:
        super().__init__()
        self._connections = anyio.Semaphore(3)

    async def open(self) -> None:
        await self._connections.acquire()
        await anyio.lowlevel.checkpoint()
        self._connections.release()


CLOCK = Capabilities(server_clock=True)


@caught_by("test_clock", capabilities=CLOCK)
class ClockIsAMinuteAhead(MemoryRepository):
    async def clock(self) -> int | None:
        return time.time_ns() // 1000 + 60_000_000


@caught_by("test_clock", capabilities=CLOCK)
class ClockOfTheFirstQuestion(MemoryRepository):
    async def clock(self) -> int | None:
        first: int = self.__dict__.setdefault("first", time.time_ns() // 1000)
        self.__dict__["first"] += 1
        return first


@caught_by("test_clock", capabilities=CLOCK)
class ClockInSeconds(MemoryRepository):
    async def clock(self) -> int | None:
        return int(time.time()) * 1_000_000


@caught_by("test_race_within_one_client")
class ClaimsOneAtATime(MemoryRepository):
    busy = False

    async def claim(self, claims: Sequence[QueueClaim], **options: Any) -> list[Record]:
        assert not self.busy, "another claim is in progress"
        self.busy = True
        await anyio.lowlevel.checkpoint()
        self.busy = False
        return await super().claim(claims, **options)
