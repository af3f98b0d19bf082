"""The keywords that say when a task or an instance is due: schedule and bounds."""

from __future__ import annotations

import datetime
from typing import TypedDict

from pyncette._schedules.moments import moment_of
from pyncette._validation.checks import check_count
from pyncette.schedule import Once, Schedule, make_schedule

from .spec import UNBOUNDED, Bounds


class Timing(TypedDict, total=False):
    """When a task is due: exactly one of the first three, a timezone only with ``schedule``, and bounds."""

    schedule: str | None
    interval: datetime.timedelta | None
    execute_at: datetime.datetime | None
    timezone: str | None
    start_at: datetime.datetime | None
    end_at: datetime.datetime | None
    max_runs: int | None


KINDS = ("schedule", "interval", "execute_at")
BOUNDS = ("start_at", "end_at", "max_runs")


def read_timing(timing: Timing, *, may_be_over: bool = False) -> tuple[Schedule, Bounds]:
    """The schedule and the bounds that the keywords describe.

    :param may_be_over: whether to accept a schedule whose last moment has passed.
    :raises ValueError: they contradict each other, or a value is wrong.
    :raises TypeError: a value has the wrong type.
    """
    schedule = make_schedule(
        schedule=timing.get("schedule"),
        interval=timing.get("interval"),
        execute_at=timing.get("execute_at"),
        timezone=timing.get("timezone"),
        may_be_over=may_be_over,
    )
    bounds = read_bounds(timing)
    if isinstance(schedule, Once) and bounds is not UNBOUNDED:
        given = next(name for name in BOUNDS if timing.get(name) is not None)
        raise ValueError(f"{given} is for what recurs, and execute_at is a single moment: leave one of them out.")
    return schedule, bounds


def read_bounds(timing: Timing) -> Bounds:
    """Only the bounds, for a template that leaves the schedule to its instances."""
    start_at, end_at, max_runs = (timing.get(name) for name in BOUNDS)
    if start_at is None and end_at is None and max_runs is None:
        return UNBOUNDED
    start = None if start_at is None else moment_of("start_at", start_at)
    end = None if end_at is None else moment_of("end_at", end_at)
    if start is not None and end is not None and end < start:
        raise ValueError(f"end_at ({end_at}) is earlier than start_at ({start_at}): swap them.")
    if max_runs is not None:
        max_runs = check_count("max_runs", max_runs)
    return Bounds(start, end, max_runs)
