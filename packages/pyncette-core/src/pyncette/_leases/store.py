"""The repository as the rest of core sees it: its calls are observed, outages are logged once, and a clock that tests
move stands still during a call.

Nothing else calls a repository.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from pyncette.clock import Clock
from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.findings import Finding
from pyncette.observer import Observers
from pyncette.record import HELD, LEAST, Change, Count, Look, Queue, QueueClaim, Record, Ref, RunLine, RunQuestion, Swap
from pyncette.repository import Repository

logger: logging.Logger = logging.getLogger(__name__)

CLOCK_INTERVAL = 30_000_000
"""Microseconds between two readings of the server's clock."""

CLOCK_ERROR = 100_000
"""Microseconds of error at which a reading is good enough. Above that, the clock is read again immediately."""

LOOK_LIMIT, LONGEST_LOOK = 5.0, 30.0
"""Timeout of a look in seconds, initially and at most: it doubles with each look that times out. On a silent connection
the driver would wait half a minute, while nothing is executed."""

CLOCK_READINGS = 4
"""The maximum number of readings of the clock in a row."""

_CHANGING = ("swap", "claim")

_REPEATED = ("look", "claim", "swap", "clock")
"""Operations that are retried until they succeed: an outage in which one of them failed lasts until it succeeds. A
storage with a full disk, or a replica, answers reads but stores nothing."""


class Store:
    """Wraps the repository methods of the same names."""

    def __init__(self, repository: Repository, clock: Clock, observers: Observers, names: Mapping[str, str]) -> None:
        """``names`` maps queues to the names of their templates."""
        self._repository = repository
        self._clock = clock
        self._observers = observers
        self._names = names
        self._clock_read_at: int | None = None
        self._look_limit = LOOK_LIMIT
        self._down_since: float | None = None
        self._failing: set[str] = set()  # the retried operations that have failed in this outage

    async def within(self, connection: object) -> Store:
        """The store within the transaction that is open on the connection."""
        repository = await self._repository.within(connection)
        return _InTransaction(repository, self._clock, self._observers, self._names, self.follow_clock)

    def carried(self) -> str | None:
        """The carrier's context for the current call."""
        return self._observers.carried()

    async def read(self, refs: Sequence[Ref]) -> list[Record | None]:
        async with self._call("read", (ref.queue for ref in refs)):
            return await self._repository.read(refs)

    async def swap(self, changes: Sequence[Change], carried: Sequence[str] = ()) -> list[Swap]:
        async with self._call("swap", (change.either.queue for change in changes), carried):
            swaps = await self._repository.swap(changes)
        self._observers.batch_stored(size=len(changes))
        return swaps

    async def claim(
        self, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
    ) -> list[Record]:
        async with self._call("claim", (claim.queue.name for claim in claims)):
            return await self._repository.claim(claims, now=now, limit=limit, token=token, holder=holder)

    async def scan(self, queue: Queue, *, after: str | None, limit: int, prefix: str = "") -> list[Record]:
        async with self._call("scan", [queue.name]):
            return await self._repository.scan(queue, after=after, limit=limit, prefix=prefix)

    async def scan_ready(
        self,
        queue: Queue,
        *,
        since: int = LEAST,
        before: int = HELD,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[Record]:
        async with self._call("scan_ready", [queue.name]):
            return await self._repository.scan_ready(queue, since=since, before=before, after=after, limit=limit)

    async def queues(self, *, after: str | None, limit: int) -> list[str]:
        async with self._call("queues", ()):
            return await self._repository.queues(after=after, limit=limit)

    async def count(self, queue: Queue, *, since: int = LEAST, before: int = HELD, limit: int = 10_000) -> Count:
        async with self._call("count", [queue.name]):
            return await self._repository.count(queue, since=since, before=before, limit=limit)

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        async with self._call("runs", question.queues or ()):
            return await self._repository.runs(question)

    async def prune_runs(self, *, before: int, limit: int) -> int:
        async with self._call("prune_runs", ()):
            return await self._repository.prune_runs(before=before, limit=limit)

    async def diagnose(self) -> list[Finding]:
        async with self._call("diagnose", ()):
            return await self._repository.diagnose()

    async def look(
        self,
        queues: Sequence[Queue],
        refs: Sequence[Ref],
        *,
        after: int | None = None,
        until: int = LEAST,
        limit: int = 1,
    ) -> Look:
        async with self._call("look", (queue.name for queue in queues)):
            with anyio.move_on_after(self._clock.call_limit(self._look_limit)) as scope:
                looked = await self._repository.look(queues, refs, after=after, until=until, limit=limit)
            if scope.cancelled_caught:
                seconds = self._look_limit
                self._look_limit = min(2 * seconds, LONGEST_LOOK)
                raise RepositoryUnavailableException(f"The storage did not answer within {seconds:g} s.")
            self._look_limit = LOOK_LIMIT
            if looked.next_ready is None or looked.next_ready > self._clock.now():
                self._failing.discard("claim")  # others have claimed what was due; no claim will end the outage
            return looked

    async def follow_clock(self) -> None:
        """Read the server's clock, if it has one, and the last reading is old or the machine was suspended since.

        A slow reading is imprecise. It is repeated, unless the earlier ones were precise enough.
        """
        now = self._clock.now()
        read_at = self._clock_read_at
        if read_at is not None and abs(now - read_at) < CLOCK_INTERVAL and not self._clock.disturbed:
            return
        for _ in range(CLOCK_READINGS):
            async with self._call("clock", ()):
                asked = time.monotonic_ns()
                server_time = await self._repository.clock()
                took = (time.monotonic_ns() - asked) // 1000
            if server_time is not None:
                self._clock.discipline(server_time, took=took)
            if self._clock.error <= CLOCK_ERROR:
                break
        self._clock_read_at = self._clock.now()

    @asynccontextmanager
    async def _call(self, operation: str, queues: Iterable[str], carried: Sequence[str] = ()) -> AsyncIterator[None]:
        task_name = self._task_name(queues) if self._observers.listening else ""
        self._observers.operation_started(operation=operation, task_name=task_name, carried=carried)
        started = time.perf_counter()
        error: BaseException | None = None
        try:
            with self._clock.busy(changes=operation in _CHANGING):
                yield
        except BaseException as e:
            error = e
            if isinstance(e, Exception) and not isinstance(e, RecordRefusedException):
                self._outage_begins(operation, e)
            raise
        else:
            self._succeeded(operation)
        finally:
            self._observers.operation_finished(
                operation=operation, task_name=task_name, duration=time.perf_counter() - started, error=error
            )

    def _task_name(self, queues: Iterable[str]) -> str:
        found = None
        for queue in queues:
            name = self._names.get(queue, "")
            if found is not None and name != found:
                return ""  # several tasks, perhaps thousands: name none
            found = name
        return found or ""

    def failed(self, error: Exception) -> None:
        """Writes could not be stored. Log it if this is the beginning of an outage."""
        if isinstance(error, RepositoryUnavailableException):
            self._outage_begins("swap", error)

    def _outage_begins(self, operation: str, error: Exception) -> None:
        if operation in _REPEATED:
            self._failing.add(operation)
        if self._down_since is None:
            self._down_since = time.monotonic()
            logger.error(
                "The storage failed in %s: %s (%s). It is retried; this is logged once.",
                operation,
                error,
                type(error).__name__,
                extra={"operation": operation},
                exc_info=None if isinstance(error, RepositoryException) else error,
            )

    def _succeeded(self, operation: str) -> None:
        if self._down_since is None:
            return
        self._failing.discard(operation)
        if not self._failing:
            seconds = time.monotonic() - self._down_since
            self._down_since = None
            logger.warning("The storage works again, after %.1f s.", seconds, extra={"outage_seconds": seconds})


class _InTransaction(Store):
    """The store within the caller's transaction. The caller gets its errors; they don't count as an outage."""

    def __init__(
        self,
        repository: Repository,
        clock: Clock,
        observers: Observers,
        names: Mapping[str, str],
        follow_clock: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(repository, clock, observers, names)
        self._follow_clock = follow_clock

    async def follow_clock(self) -> None:
        await self._follow_clock()

    def _outage_begins(self, operation: str, error: Exception) -> None: ...

    def _succeeded(self, operation: str) -> None: ...
