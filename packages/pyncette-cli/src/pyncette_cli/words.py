"""Schedules in words."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from .values import span

if TYPE_CHECKING:
    from pyncette import Task


def schedule_in_words(task: Task) -> str:
    """What the schedule of a task or an instance says, in English, with its timezone; nothing if it has none."""
    if task.schedule is not None:
        said = in_words(task.schedule) or task.schedule
        return f"{said} ({task.timezone})" if task.timezone else said
    if task.interval is not None:
        return f"Every {span(task.interval)}"
    return "Once" if task.execute_at is not None else ""


def in_words(expression: str) -> str:
    """What an expression says, in English; nothing if it can't be said.

    The library has seconds first, and Pyncette has them last.
    """
    from cron_descriptor import ExpressionDescriptor, Options
    from cron_descriptor.Exception import FormatException, MissingFieldException, WrongArgumentException

    fields = expression.split()
    if len(fields) in (6, 7):
        fields = [fields[5], *fields[:5], *fields[6:]]
    options = Options()
    options.use_24hour_time_format = True
    with contextlib.suppress(FormatException, MissingFieldException, WrongArgumentException, ValueError, IndexError):
        return str(ExpressionDescriptor(" ".join(fields), options).get_description())
    return ""
