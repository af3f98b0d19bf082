"""Group commit: writes that arrive while a batch is being stored are sent together in the next one.

There is no timer: an idle storage answers a single write immediately, a busy one gets large batches. Each write decides
what to store when its batch is sent, so that writes to one key are never based on outdated records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import anyio

from pyncette import backoff
from pyncette._tasks.names import name_of
from pyncette.clock import Clock
from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.record import Change, Record, Swap

from .attempt import OVERDUE, Attempt
from .store import Store
from .writes import Awaited, Write

MAX_BATCH = 1000
FIRST_PAUSE, LONGEST_PAUSE = 100_000, 1_000_000  # microseconds, after a batch that could not be stored
MAX_CONFLICTS = 50

LOCK_TIMEOUT = 10.0
"""Seconds that a transient write is retried while another transaction has locked its record."""

BUSY_DELAY = 0.01
"""Seconds before a write whose record is locked by another transaction is retried; doubles each time."""

MAX_BUSY_DELAY = 1.0
"""Seconds."""


class Batching(ABC):
    """Sends writes in batches. Each decides its change when its batch is sent.

    :ivar on_stored: called with each record that has just been stored.
    :ivar hurried: whether time is short, so that the server's clock is not read before a batch.
    """

    hurried: bool = False

    def __init__(self, store: Store, clock: Clock, on_stored: Callable[[Record], None]) -> None:
        self._store = store
        self._clock = clock
        self.on_stored = on_stored
        self._waiting: deque[Write] = deque()

    @abstractmethod
    async def send(self, writes: Iterable[Awaited]) -> None:
        """Store these writes; wait for each with its ``wait()``."""

    async def store(self, write: Awaited) -> None:
        """Return when it is stored.

        :raises PyncetteException: it was not stored, or it is unknown whether it was.
        """
        await self.send([write])
        await write.wait()

    def _take(self, write: Write) -> None:
        if isinstance(write, Awaited) and write.carried is None:
            write.carried = self._store.carried()
        self._waiting.append(write)

    def _put_back(self, batch: Sequence[Write]) -> None:
        """Queue the writes that are not done, ahead of the others."""
        self._waiting.extendleft(write for write in reversed(batch) if not write.done)

    def _next_batch(self) -> list[Write]:
        """The oldest writes, one per key, because a later one must see what the earlier one has stored."""
        batch: dict[str, Write] = {}
        left: list[Write] = []
        delayed: set[str] = set()
        now = anyio.current_time()
        while self._waiting and len(batch) < MAX_BATCH:
            write = self._waiting.popleft()
            key = write.ref.key
            if write.not_before > now:
                delayed.add(key)
            if key in batch or key in delayed:
                left.append(write)
            else:
                batch[key] = write
        self._waiting.extendleft(reversed(left))
        return [batch[key] for key in sorted(batch)]

    async def _store_batch(self, batch: Sequence[Write]) -> None:
        """Try each write once. Those that are not done afterwards met a conflict or a lock, and have to be retried."""
        if not self.hurried:
            await self._store.follow_clock()
        await self._refresh([write for write in batch if not write.fresh])
        now = self._clock.now()
        writes: list[Write] = []
        changes: list[Change] = []
        for write in batch:
            if write.done:
                continue
            change = self._decide(write, now)
            if change is not None:
                writes.append(write)
                changes.append(change)
        if changes:
            await self._swap(writes, changes)

    def _decide(self, write: Write, now: int) -> Change | None:
        if write.sent is not None and write.arrived(write.sent):
            self._applied(write, write.known)
            return None
        try:
            write.sent = self._change(write, now)
        except Exception as e:  # noqa: BLE001 - this write is at fault, not the rest of the batch
            self._finish(write, e)
            return None
        if write.sent is None:
            self._finish(write, None)
        return write.sent

    def _change(self, write: Write, now: int) -> Change | None:
        return write.decide(now)

    async def _swap(self, writes: Sequence[Write], changes: Sequence[Change]) -> None:
        for write in writes:
            write.fresh = False  # until the reply arrives, it is unknown what is stored
        try:
            carried = {write.carried for write in writes if write.carried is not None}
            swaps = await self._store.swap(changes, sorted(carried))
        except RepositoryUnavailableException:
            raise
        except Exception as e:  # noqa: BLE001 - as above
            await self._split(writes, e)
            return
        busy: list[Write] = []
        for write, change, swap in zip(writes, changes, swaps, strict=True):
            if swap is Swap.APPLIED:
                self._applied(write, change.new)
            elif swap is Swap.CONFLICT:
                self._conflict(write)
            else:
                write.sent = None
                busy.append(write)
        if busy:
            self._are_busy(busy)

    def _applied(self, write: Write, new: Record | None) -> None:
        write.fresh, write.sent = True, None
        write.stored(new)
        if new is not None:
            self.on_stored(new)
        self._finish(write, None)

    def _conflict(self, write: Write) -> None:
        """Others have changed the record: read it before the next try, and decide again."""
        write.sent = None
        write.conflicts += 1
        if write.conflicts > MAX_CONFLICTS:
            name = name_of(write.ref.key)
            self._finish(write, RepositoryException(f"{name!r} is changed by others again and again."))

    @abstractmethod
    def _are_busy(self, writes: Sequence[Write]) -> None:
        """Other transactions have locked these records: retry each write later, or refuse it."""

    def _retry_busy(self, writes: Sequence[Write], tries: int) -> None:
        """Delay the next try, longer each time."""
        delay = backoff.pause(tries, first=BUSY_DELAY, longest=MAX_BUSY_DELAY, least=0.5)
        not_before = anyio.current_time() + delay
        for write in writes:
            write.not_before = not_before

    def _refuse_busy(self, write: Write) -> None:
        self._finish(write, RepositoryException(f"{name_of(write.ref.key)!r} is locked by another transaction."))

    async def _split(self, writes: Sequence[Write], error: Exception) -> None:
        """The batch was refused: bisect it, so that only the write at fault fails."""
        if len(writes) == 1:
            self._finish(writes[0], error)
            return
        middle = len(writes) // 2
        await self._store_batch(writes[:middle])
        await self._store_batch(writes[middle:])

    async def _refresh(self, writes: Sequence[Write]) -> None:
        if writes:
            records = await self._store.read([write.ref for write in writes])
            for write, record in zip(writes, records, strict=True):
                write.known, write.fresh, write.was_read = record, True, True

    @staticmethod
    def _finish(write: Write, error: Exception | None) -> None:
        write.done = True
        write.finished(error)


class Writer(Batching):
    """Stores the writes of one app context, one batch at a time.

    :param on_stored: called with each record that has just been stored.
    :param on_recovered: called when a batch has been stored after one that failed.
    :ivar stopped: whether :meth:`stop` was called.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_stored: Callable[[Record], None] = lambda record: None,
        on_recovered: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(store, clock, on_stored)
        self._on_recovered = on_recovered
        self._batch: list[Write] = []  # in progress
        self._attempt: Attempt | None = None
        self._failures = 0  # failed attempts since the last one that succeeded
        self.stopped: bool = False
        self._arrived = anyio.Event()
        self._idle = anyio.Event()
        self._scope = anyio.CancelScope(shield=True)

    @property
    def pending(self) -> int:
        """How many writes are waiting or in progress."""
        return len(self._waiting) + len(self._batch)

    @property
    def overdue(self) -> bool:
        """Whether writes are waiting, and the last attempt has failed or the current one takes long. Nothing should be
        claimed then."""
        failed = self._failures > 0 and self.pending > 0
        return failed or (self._attempt is not None and self._attempt.age > OVERDUE)

    def submit(self, write: Write) -> None:
        """Store it soon; ``write.finished`` is called at the end.

        :raises RuntimeError: :meth:`stop` was called.
        """
        if self.stopped:
            raise RuntimeError("The app context is closed: use it inside its block, async with app.create() as ….")
        self._take(write)
        attempt, ends = self._attempt, write.lease_ends
        if attempt is not None and ends is not None and ends < attempt.ends:
            attempt.hurry([ends])
        self._arrived.set()

    async def send(self, writes: Iterable[Awaited]) -> None:
        for write in writes:
            self.submit(write)

    def _are_busy(self, writes: Sequence[Write]) -> None:
        now = anyio.current_time()
        for write in writes:
            write.busy += 1
            write.busy_since = min(write.busy_since, now)
            if write.persistent or now - write.busy_since < LOCK_TIMEOUT:
                self._retry_busy([write], write.busy)
            else:
                self._refuse_busy(write)

    async def drained(self) -> None:
        """Wait until nothing is pending."""
        while self.pending:
            await self._idle.wait()

    async def run(self) -> None:
        """Work until :meth:`stop`, even if the surrounding scope is cancelled."""
        with self._scope:
            while True:
                await self._arrived.wait()
                batch = self._batch = self._next_batch()
                if not batch:
                    await self._until_not_busy()
                    continue
                await self._try(batch)
                self._put_back(batch)
                self._batch = []
                if self._failures:
                    await self._back_off(self._failures)
                if not self._waiting:
                    self._arrived = anyio.Event()
                    self._idle.set()
                    self._idle = anyio.Event()

    async def _try(self, batch: Sequence[Write]) -> None:
        self._attempt = Attempt(self._clock, self._failures)
        self._attempt.hurry([write.lease_ends for write in batch])
        try:
            with self._attempt:
                await self._store_batch(batch)
        except Exception as e:  # noqa: BLE001 - whatever the backend raises, the other writes continue
            self._failures += 1
            self._store.failed(e)
            self._give_up_transient(batch, e)
        else:
            if self._failures:
                self._failures = 0
                self._on_recovered()
        finally:
            self._attempt = None

    def stop(self) -> int:
        """End :meth:`run` immediately. Callers that are waiting for a write get an error.

        :return: how many writes are lost.
        """
        self.stopped = True
        self._scope.cancel()
        lost = self.pending
        for write in (*self._batch, *self._waiting):
            if not (write.done or write.persistent):
                self._finish(write, RepositoryUnavailableException("The app was closed before the storage confirmed."))
        return lost

    async def _until_not_busy(self) -> None:
        """All waiting writes are delayed: sleep until the first of them may be tried, or until another write arrives.

        This uses the machine's time, because other transactions don't end in virtual time. A clock that a test moves
        stands still in the meantime, as it does during a call.
        """
        arrived = self._arrived = anyio.Event()
        first = min(write.not_before for write in self._waiting)
        with self._clock.busy(changes=False), anyio.move_on_after(max(0, first - anyio.current_time())):
            await arrived.wait()
        arrived.set()

    def _give_up_transient(self, batch: Sequence[Write], error: Exception) -> None:
        for write in batch:
            write.failures += 1
            if not write.done and not write.persistent and write.failures > 1:
                self._finish(write, error)

    async def _back_off(self, failures: int) -> None:
        delay = backoff.pause(failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE, least=0.5)
        await self._clock.wait_until(self._clock.now() + round(delay))
