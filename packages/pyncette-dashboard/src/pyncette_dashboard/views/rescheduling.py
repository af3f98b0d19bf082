"""A new schedule for an instance as an operator enters it, and a preview of its effect."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from pyncette import Task
from pyncette.schedule import upcoming
from pyncette_cli.values import duration, span
from pyncette_cli.words import in_words
from pyncette_dashboard.page import Refused

PREVIEW = 10
"""The number of occurrences in the preview."""

LONGEST = 200
"""The maximum number of characters of a cron expression or a timezone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A schedule: one of the three kinds.

    :ivar said: the text as it was entered.
    """

    how: str
    said: str
    schedule: str | None = None
    timezone: str | None = None
    interval: datetime.timedelta | None = None
    execute_at: datetime.datetime | None = None

    @classmethod
    def of(cls, task: Task) -> Wanted:
        """The schedule of an instance."""
        if task.interval is not None:
            return cls("every", span(task.interval), interval=task.interval)
        if task.execute_at is not None:
            return cls("once", "", execute_at=task.execute_at)
        return cls("cron", task.schedule or "", schedule=task.schedule, timezone=task.timezone)


def wanted_of(field: Callable[[str], str], zone: ZoneInfo) -> Wanted:
    """The schedule that was entered.

    :raises Refused: the input is invalid; the message says what to write.
    :raises ValueError: it is not a schedule.
    """
    how = field("how")
    if how == "every":
        text = field("every")[:LONGEST]
        interval = duration(text)
        if interval is None or interval <= datetime.timedelta(0):
            raise Refused(400, f"{text!r} is not a duration: write 90s, 5m, 1h30m or 2d")
        return Wanted(how, f"every {span(interval)}", interval=interval)
    if how == "once":
        text = field("at")[:LONGEST]
        try:
            at = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise Refused(400, f"{text!r} is not a date and time: write 2027-01-31T08:00") from None
        at = at.replace(tzinfo=zone) if at.tzinfo is None else at
        return Wanted(how, f"once, at {at.isoformat()}", execute_at=at)
    if how != "cron":
        raise Refused(400, "Say which kind of schedule it is")
    text, name = field("cron").strip(), field("timezone").strip()
    if len(text) > LONGEST or len(name) > LONGEST:
        raise Refused(400, f"Write at most {LONGEST} characters")
    if not text:
        raise Refused(400, "Write a cron expression, such as 30 2 * * *")
    return Wanted(how, f"{text} {name}".strip(), schedule=text, timezone=name or None)


def coming(wanted: Wanted, now: datetime.datetime) -> list[datetime.datetime]:
    """Its next occurrences.

    :raises ValueError: it is not a schedule.
    """
    if wanted.execute_at is not None:
        return [wanted.execute_at]
    found = upcoming(schedule=wanted.schedule, interval=wanted.interval, timezone=wanted.timezone, after=now)
    return list(itertools.islice(found, PREVIEW))


def preview_of(wanted: Wanted) -> str:
    """The schedule in words."""
    return in_words(wanted.schedule) if wanted.schedule is not None else ""
