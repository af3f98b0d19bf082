"""A worker of the chaos: executes what is due and records what it does.

Arguments: the event loop, the journal, and the options of :func:`declare` as JSON.
"""

from __future__ import annotations

import json
import select
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import anyio

from pyncette import Context, ExecutionMode, Pyncette, Retry, Task
from pyncette.events import LeaseLost, OperationFinished, TickFinished
from pyncette.observer import Observer

from .journal import BEGUN, ENDED, LOST, READY, SECOND, STALLED, STORED, Journal, now
from .orphans import end_with_parent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONG = 6
"""Delays longer than this fraction of a lease (one sixth) are recorded."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The app that all processes share.

    :ivar steady: the template of instances that no operator touches.
    :ivar once: the same, but at most once.
    :ivar operated: the template of instances that operators change.
    """

    app: Pyncette
    steady: Task
    once: Task
    operated: Task

    @property
    def templates(self) -> tuple[Task, Task, Task]:
        return self.steady, self.once, self.operated


def declare(options: dict[str, Any], journal: Journal | None = None) -> Declared:
    """:param options: the app's options, plus ``lease`` in seconds, and the ``seed`` for the behaviour of
    executions."""
    options = dict(options)
    lease, seed = options.pop("lease"), options.pop("seed")
    poll = timedelta(seconds=options.pop("poll"))
    app = Pyncette(options.pop("url"), poll_interval=poll, **options)
    body = Body(journal, lease, seed).execute
    often = Retry(10_000, timedelta(seconds=0.2), factor=1, jitter=0, max_lost=10_000)
    duration = timedelta(seconds=lease)
    return Declared(
        app,
        app.dynamic_task(name="steady", lease_duration=duration, retry=often)(body),
        app.dynamic_task(name="once", lease_duration=duration, execution_mode=ExecutionMode.AT_MOST_ONCE)(body),
        app.dynamic_task(name="operated", lease_duration=duration, retry=often)(body),
    )


class Body:
    """The behaviour of executions: usually they return at once, sometimes they take long or fail. It is determined by
    seed, name and run."""

    def __init__(self, journal: Journal | None, lease: float, seed: int) -> None:
        self._journal = journal
        self._lease = lease
        self._seed = seed

    async def execute(self, context: Context) -> None:
        journal, name = self._journal, context.task.name
        if journal is None:
            raise RuntimeError("This process is none that executes.")
        what = _run(context)
        journal.write(BEGUN, name, what, context.attempt, context.fencing_token)
        outcome = "cancelled"
        try:
            chance = crc32(f"{self._seed} {name} {what}".encode()) % 1000
            if chance < 4:
                await anyio.sleep(1.5 * self._lease)
            elif chance < 20:
                await anyio.sleep(0.3)
            outcome = "ok"
            if chance >= 990 and context.attempt == 1:
                outcome = "failed"
                raise RuntimeError("The task fails, says the test.")
        finally:
            journal.write(ENDED, name, context.fencing_token, outcome)


def _run(context: Context) -> str:
    if context.trigger == "manual":
        return f"#{context.args['number']}"
    return str((context.scheduled_at - EPOCH) // timedelta(microseconds=1))


class Watcher(Observer):
    """Records problems that explain a lost lease without a fault at the worker."""

    def __init__(self, journal: Journal, lease: float) -> None:
        self._journal = journal
        self._long = lease / LONG
        self._ready = False

    def tick_finished(self, event: TickFinished, /) -> None:
        if not self._ready and event.error is None:
            self._ready = True
            self._journal.write(READY)

    def operation_finished(self, event: OperationFinished, /) -> None:
        if event.error is not None or event.duration > self._long:
            why = "slow" if event.error is None else type(event.error).__name__
            self._journal.write(STORED, round(event.duration * SECOND), why)

    def lease_lost(self, event: LeaseLost, /) -> None:
        self._journal.write(LOST, event.instance, event.fencing_token)


def watch_stalls(journal: Journal, lease: float) -> None:
    """Record when the whole process was stalled. Runs forever, in a thread."""
    last = now()
    while True:
        select.select([], [], [], 0.05)  # a fake clock breaks time.sleep()
        moment = now()
        if moment - last > lease / LONG * SECOND:
            journal.write(STALLED, moment - last)
        last = moment


def main(loop: str, path: str, text: str) -> None:
    options = json.loads(text)
    journal = Journal(path)
    declared = declare(options, journal)
    declared.app.use_observer(Watcher(journal, options["lease"]))
    threading.Thread(target=watch_stalls, args=(journal, options["lease"]), daemon=True).start()
    declared.app.main(loop)


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
