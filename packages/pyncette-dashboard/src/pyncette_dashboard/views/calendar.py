"""What is due in each hour of the next days, and in the busiest minutes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from pyncette_dashboard.forecast import Forecast, peaks
from pyncette_dashboard.page import Page

from .shown import is_partial, occurrences_of, rows_of, samples_of

DAYS = (1, 3, 7, 14)
HOUR = datetime.timedelta(hours=1)
LEVELS = 5
"""The number of shades of a cell."""

MOST_TASKS = 200

MOST_PEAKS = 15


@dataclass(frozen=True, slots=True)
class Cell:
    """An hour.

    :ivar level: 0 if nothing is due, up to :data:`LEVELS`.
    """

    at: datetime.datetime
    count: float
    level: int
    most: str


@dataclass(frozen=True, slots=True)
class Day:
    """A row of 24 hours, in the viewer's zone."""

    date: datetime.date
    cells: Sequence[Cell | None]

    @property
    def count(self) -> float:
        return sum(cell.count for cell in self.cells if cell is not None)


async def calendar(page: Page) -> Response:
    days = int(page.asked("days")) if page.asked("days") in map(str, DAYS) else 7
    wanted = page.asked("task")
    stored = [each for each in await page.services.tasks() if wanted in ("", each.name)]
    rows = await rows_of(page, stored[:MOST_TASKS])
    start = page.now.replace(minute=0, second=0, microsecond=0)
    seen = await occurrences_of(page, "calendar", rows, start, HOUR, days * 24)
    return page.render(
        "calendar.html",
        partial=is_partial(rows, seen),
        days=_days(page, seen),
        chosen=days,
        choices=DAYS,
        seen=seen,
        peaks=peaks(samples_of(rows), MOST_PEAKS),
        tasks=await page.services.tasks(),
        cut=len(stored) > MOST_TASKS,
    )


def _days(page: Page, seen: Forecast) -> list[Day]:
    totals = seen.totals
    top = max(totals, default=0)
    days: dict[datetime.date, list[Cell | None]] = {}
    for place, total in enumerate(totals):
        at = (seen.start + place * seen.step).astimezone(page.zone)
        busiest = max(seen.buckets.items(), key=lambda row: row[1][place], default=("", [0.0]))[0] if total else ""
        level = min(LEVELS, 1 + int(total / top * (LEVELS - 0.001))) if total else 0
        row = days.setdefault(at.date(), [None] * 24)
        row[at.hour] = Cell(at, total + (row[at.hour].count if row[at.hour] else 0), level, busiest)  # type: ignore[union-attr] # just checked
    return [Day(date, cells) for date, cells in days.items()]
