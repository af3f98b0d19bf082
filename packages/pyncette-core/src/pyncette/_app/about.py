"""How a worker describes itself."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import socket
import time
from collections.abc import Callable, Sequence, Sized
from typing import Protocol

from pyncette._concurrency.eventloop import loop_name
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.task import Task
from pyncette._tasks.worker import Worker
from pyncette.clock import Clock
from pyncette.observer import Observers


class RunningApp(Protocol):
    """The part of an app context that describes its loop."""

    @property
    def clock(self) -> Clock: ...

    @property
    def last_tick(self) -> datetime.datetime | None: ...


@functools.cache
def own_version() -> str:
    """The version of core. Cached before the loop runs, because the lookup takes as long as a hundred executions."""
    return importlib.metadata.version("pyncette-core")


def default_name() -> str:
    """A worker's default name: host name and process id."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"


def describer(
    context: RunningApp,
    name: str,
    tasks: Sequence[Task],
    concurrency_limit: int,
    running: Sized,
    *,
    history: datetime.timedelta | None,
    observers: Observers,
) -> Callable[[], Worker]:
    """A function that returns the worker's current description.

    :param running: the executions in progress.
    :param history: how long the run log is kept; None if there is none.
    """
    started_at = to_datetime(context.clock.now())
    names = tuple(task.name for task in tasks)
    kinds = tuple(task.kind for task in tasks)
    host, version = socket.gethostname(), own_version()

    def describe() -> Worker:
        now = context.clock.now()
        return Worker(
            name=name,
            host=host,
            pid=os.getpid(),
            version=version,
            python=platform.python_version(),
            event_loop=loop_name(),
            tasks=names,
            kinds=kinds,
            task_count=len(tasks),
            concurrency_limit=concurrency_limit,
            running=len(running),
            started_at=started_at,
            last_tick=context.last_tick,
            last_seen=to_datetime(now),
            clock_offset=(now - time.time_ns() // 1000) / 1_000_000,
            history=history,
            samples=observers.has_listeners("sampled"),
        )

    return describe
