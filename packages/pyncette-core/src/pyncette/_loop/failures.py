"""Logs failures of tasks: with a traceback if the failure is new, otherwise in one line."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass

from pyncette._tasks.task import Task

logger: logging.Logger = logging.getLogger(__name__)

IN_FULL_AFTER = 3600.0
"""Seconds after which the same error is logged with its traceback again, as logs may have been rotated."""

Place = tuple[type[BaseException], str, int]


@dataclass(slots=True)
class _Seen:
    place: Place
    logged_at: float
    count: int = 1


class FailureLog:
    """Remembers what was logged about each task. The instances of a template count as one."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def failed(self, task: Task, error: BaseException) -> None:
        """Log a failed attempt. Errors are the same if they have the same class and come from the same line."""
        extra, name, place = {"task": task.canonical_name}, task.template.name, _place(error)
        seen, now = self._seen.get(name), time.monotonic()
        if seen is None or seen.place != place or now - seen.logged_at >= IN_FULL_AFTER:
            self._seen[name] = _Seen(place, now)
            logger.warning("Task %s failed.", task, exc_info=error, extra=extra)
            return
        seen.count += 1
        [line] = traceback.format_exception_only(type(error), error)[-1:]
        line = " ".join(line.split())
        logger.warning("Task %s failed with the same error, %d times so far: %s", task, seen.count, line, extra=extra)


def _place(error: BaseException) -> Place:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return (type(error), "", 0) if last is None else (type(error), last.tb_frame.f_code.co_filename, last.tb_lineno)
