"""The poll loop: sleep until something is due, claim it, pass it to the executor."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import anyio

from pyncette._leases.coordinator import Coordinator
from pyncette._leases.held import HeldLease
from pyncette._tasks.task import Task
from pyncette.clock import Clock
from pyncette.errors import PartitionCountException
from pyncette.executor import Executor
from pyncette.observer import Observers

from .agenda import Agenda, Look, Sleep, Turns, free_slots
from .execution import Execution, Executions
from .renewer import Renewer
from .waker import Waker

logger: logging.Logger = logging.getLogger(__name__)

STOP_GRACE = 2.0
"""Seconds that a query or claim in progress gets once the loop is stopped. An interrupted claim leaves leases."""


class Poller:
    """Runs one app's poll loop: carries out the steps that its agenda decides.

    :ivar stopped: set by :meth:`stop`.
    :ivar last_tick: microseconds; when the last pass that succeeded began, None before the first.
    """

    def __init__(
        self,
        agenda: Agenda,
        waker: Waker,
        coordinator: Coordinator,
        executions: Executions,
        renewer: Renewer,
        clock: Clock,
        observers: Observers,
    ) -> None:
        self._agenda = agenda
        self._waker = waker
        self._coordinator = coordinator
        self._executions = executions
        self._active = coordinator.active
        self._renewer = renewer
        self._clock = clock
        self._observers = observers
        self._limit = 0
        self._asking = anyio.CancelScope()
        self.stopped: anyio.Event = anyio.Event()
        self.last_tick: int | None = None

    def stop(self) -> None:
        """Claim nothing more; :meth:`run` returns."""
        self.stopped.set()
        self._asking.deadline = min(self._asking.deadline, anyio.current_time() + STOP_GRACE)
        self._waker.wake()

    @property
    def stopping(self) -> bool:
        return self.stopped.is_set()

    def records_are_lost(self) -> None:
        """The storage may have lost its records, perhaps without a noticeable outage: check the static tasks."""
        self._coordinator.check_static(after_outage=True)

    def take_turns(self, place: int, workers: int) -> None:
        """Take turns with the workers that do the same work: ``workers`` of them, this one included."""
        self._agenda.turns = Turns(place, workers)

    async def run(self, tasks: Iterable[Task], executor: Executor, limit: int) -> None:
        """Poll until :meth:`stop`, with at most ``limit`` executions at a time.

        A pass that fails is retried after ``poll_interval``.

        :raises PartitionCountException: a task is declared with another number of partitions than it is stored with.
        """
        self._limit = limit
        started = failed = False
        chosen = list(tasks)
        self._active.clear()
        while not self.stopping:
            began = self._clock.now()
            try:
                with self._observed_tick():
                    tick = self._clock.now()
                    with self._bounded():
                        await self._coordinator.follow_clock()
                        if not started:
                            await self._coordinator.start(chosen)
                            started = True
                    await self._pass(executor)
                    self.last_tick = tick
                    self._coordinator.check_static(after_outage=failed)
                    await self._coordinator.sweep()
                    failed = False
            except PartitionCountException:
                raise  # retrying would not help
            except Exception as e:
                logger.debug("A tick failed.", exc_info=e)
                failed = started
                self._agenda.failed(began)
            await self._sleep()

    async def _sleep(self) -> None:
        while not self.stopped.is_set():
            if await self._waker.sleep():
                return

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """Limit calls of the storage to ``STOP_GRACE`` once the loop is stopped.

        :raises TimeoutError: the loop was stopped and the storage did not answer in time.
        """
        with anyio.CancelScope() as self._asking:
            if self.stopping:
                self._asking.deadline = anyio.current_time() + STOP_GRACE
            yield
        if self._asking.cancelled_caught:
            raise TimeoutError("The loop was told to stop while the storage did not answer.")

    @contextmanager
    def _observed_tick(self) -> Iterator[None]:
        began = time.perf_counter()
        error: BaseException | None = None
        self._observers.tick_started()
        try:
            yield
        except BaseException as e:
            error = e
            raise
        finally:
            self._observers.tick_finished(duration=time.perf_counter() - began, error=error)

    async def _pass(self, executor: Executor) -> None:
        now = self._clock.now()
        step = self._agenda.begin(now, free := self._free(), overdue=self._coordinator.overdue)
        while not isinstance(step, Sleep):
            if isinstance(step, Look):
                with self._bounded():
                    next_ready, asked_at = await self._coordinator.next_ready(after=step.after)
                step = self._agenda.looked(step, next_ready, now, free, asked_at=asked_at)
            else:
                with self._bounded():
                    held, more = await self._coordinator.claim(step.limit, step.times)
                if held:
                    self._renewer.begun()
                for lease in held:
                    await self._spawn(executor, lease)
                step = self._agenda.claimed(len(held), more, now, self._free())

    async def _spawn(self, executor: Executor, lease: HeldLease) -> None:
        self._active.add(lease)
        try:
            await executor.spawn_task(Execution(self._executions, lease))
        except Exception:
            self._active.ended(lease)
            self._active.release(lease)
            logger.exception("The executor failed to start %s; it is retried when its lease expires.", lease.task)

    def _free(self) -> int:
        active, unsettled = len(self._active), self._coordinator.unsettled
        return free_slots(self._limit, active=active, unsettled=unsettled)
