"""Common elements of pages: rows of tasks, timelines of runs, and charts of occurrences and outcomes."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import anyio.to_thread

from pyncette import Count, StoredTask, TaskState
from pyncette_cli.values import counted, span
from pyncette_dashboard.cache import Answer, Question
from pyncette_dashboard.charts import Chart, stacked
from pyncette_dashboard.forecast import Forecast, forecast
from pyncette_dashboard.page import Page
from pyncette_dashboard.questions import Run, Size, TaskStatus

OUTCOMES = ("succeeded", "failed", "unknown", "superseded", "skipped", "withdrawn")
"""The order of outcomes in a bar, from bottom to top."""

SETTLED = ("succeeded", "failed", "unknown")
"""The outcomes that count towards a success rate."""

COLUMNS = 48
"""The number of bars in the chart of outcomes."""

ZERO = datetime.timedelta(0)

HALF_HOUR = datetime.timedelta(minutes=30)

A_DAY = 49
"""The number of half hours from the current one to the same time tomorrow."""

Samples = Mapping[str, tuple[Sequence[TaskState], float]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a task.

    :ivar status: None while it is unknown.
    :ivar size: the size of a template; None while it is unknown.
    """

    stored: StoredTask
    status: TaskStatus | None
    size: Size | None
    orphan: bool

    @property
    def state(self) -> str:
        """What the task is doing, in a word."""
        if self.stored.paused_since is not None:
            return "paused"
        if self.status is None:
            return "…"
        if self.status.state is None:
            return "idle" if self.stored.stored else "not stored"
        return "late" if self.late > datetime.timedelta(seconds=60) else self.status.state.state

    @property
    def late(self) -> datetime.timedelta:
        return ZERO if self.status is None else self.status.late

    @property
    def next_at(self) -> datetime.datetime | None:
        """When the next occurrence starts; None if none will."""
        if self.stored.paused_since is not None or self.status is None or self.status.state is None:
            return None
        state = self.status.state
        idle = state.state in ("paused", "dead", "completed", "unreadable")
        return None if idle else state.next_attempt_at or state.scheduled_at

    @property
    def runs(self) -> Sequence[Run]:
        """The latest runs, newest first: from the log, or else those that the sampled instances remember."""
        if self.status is None:
            return ()
        return self.status.runs or newest_of(self.size.sample if self.size else (), 30)

    @property
    def count(self) -> Count | None:
        return None if self.size is None else self.size.count

    @property
    def paused(self) -> Count | None:
        return None if self.size is None else self.size.paused

    @property
    def rate(self) -> int | None:
        """The percentage of the latest runs that succeeded."""
        return rate_of(self.runs)


def rate_of(runs: Sequence[Run]) -> int | None:
    settled = [run for run in runs if run.outcome in SETTLED]
    if not settled:
        return None
    good = sum(run.outcome == "succeeded" for run in settled)
    return 100 * good // len(settled)


def states_of(rows: Sequence[Row]) -> list[TaskState]:
    """The states of the static tasks, and of the known instances."""
    static = [row.status.state for row in rows if row.stored.kind == "static" and row.status is not None]
    return [each for each in static if each] + [each for row in rows if row.size for each in row.size.sample]


def newest_of(states: Sequence[TaskState], most: int) -> list[Run]:
    """The latest runs that these instances remember, newest first."""
    found = [run for state in states for run in state.runs if run.ended_at is not None]
    return sorted(found, key=lambda run: run.ended_at, reverse=True)[:most]  # type: ignore[arg-type, return-value] # none is None


async def rows_of(page: Page, tasks: Sequence[StoredTask], *others: Answer[Any], with_sizes: bool = True) -> list[Row]:
    """Rows with what is known of tasks.

    :param others: other answers under way for the page that it can show later as well.
    :param with_sizes: ask for the sizes of templates too, once the page has everything that it needs.
    """
    services = page.services
    asked = services.begin(tasks)
    left_over = {(task.name, task.kind) for task in await services.orphans()}
    any_worker = bool(await services.workers())
    await services.cache.wait([*asked, *others], page.time_left)
    if with_sizes:
        await services.cache.wait(services.begin_sizes(tasks), page.time_left)
    return [Row(each, *services.known(each), any_worker and (each.name, each.kind) in left_over) for each in tasks]


def samples_of(rows: Sequence[Row]) -> dict[str, tuple[Sequence[TaskState], float]]:
    """By task, the known instances, and the number of instances that each of them represents."""
    found: dict[str, tuple[Sequence[TaskState], float]] = {}
    for row in rows:
        if row.stored.paused_since is not None or row.status is None:
            continue
        if row.stored.kind == "static":
            found[row.stored.name] = ([row.status.state] if row.status.state else [], 1)
        elif row.size is not None and row.size.sample:
            weight = max(row.size.count.value / len(row.size.sample), 1)
            found[row.stored.name] = (row.size.sample, 1 if row.size.whole else weight)
    return found


async def next_day_of(page: Page, key: str, rows: Sequence[Row]) -> Forecast:
    """The occurrences of the next 24 hours, by half hours."""
    start = page.now.replace(minute=page.now.minute // 30 * 30, second=0, microsecond=0)
    return await occurrences_of(page, key, rows, start, HALF_HOUR, A_DAY)


async def occurrences_of(
    page: Page, key: str, rows: Sequence[Row], start: datetime.datetime, step: datetime.timedelta, count: int
) -> Forecast:
    """The occurrences in a period, computed at most twice a minute. It is pending if that takes longer than a page may
    wait, or no template's size is known yet."""
    cache, samples = page.services.cache, samples_of(rows)
    pending = Forecast(start, step, {}, sampled=False, cut=False, pending=True)
    if rows and not samples and any(row.size is None for row in rows):
        return pending
    about = (key, start, step, count, tuple((name, len(states)) for name, (states, _) in samples.items()))

    async def compute() -> Forecast:
        return await anyio.to_thread.run_sync(forecast, dict(samples), start, step, count)

    answer = cache.begin(Question(about, compute, every=30, costs=0))
    if answer.at is None:
        await cache.wait([answer], page.time_left)
    return answer.value or pending


def is_partial(rows: Sequence[Row], seen: Forecast | None = None) -> bool:
    """Whether something was not known in time, so that the page should be refreshed at once. A page with ``seen`` shows
    sizes, too."""
    if any(row.status is None for row in rows):
        return True
    return seen is not None and (seen.pending or any(row.stored.kind != "static" and row.size is None for row in rows))


def occurrences_chart(seen: Forecast, zone: ZoneInfo, what: str) -> Chart:
    """A bar for each time span."""
    titles = []
    for place, total in enumerate(seen.totals):
        at = (seen.start + place * seen.step).astimezone(zone)
        busiest = max(seen.buckets.items(), key=lambda row: row[1][place], default=None)
        most = f", most of {busiest[0]}" if busiest is not None and total else ""
        titles.append(f"{at:%a %H:%M}: {'about ' if seen.sampled else ''}{total:,.0f}{most}")
    ticks = [f"{(seen.start + seen.step * (len(titles) * turn // 4)).astimezone(zone):%H:%M}" for turn in range(4)]
    total = sum(seen.totals)
    return stacked(
        [{"due": value} for value in seen.totals] if seen.totals else [],
        titles,
        ["due"],
        ticks=ticks,
        summary=f"{what}: {'about ' if seen.sampled else ''}{counted(round(total), 'occurrence')}",
    )


def outcomes_chart(runs: Sequence[Run], zone: ZoneInfo) -> Chart:
    """The latest runs, oldest first, with the same number in each bar."""
    ended = [run for run in reversed(runs) if run.ended_at is not None]
    if not ended:
        return stacked([], [], OUTCOMES, ticks=[], summary="No runs are known")
    first, last = _ended(ended[0]), _ended(ended[-1])
    step = max((last - first) / COLUMNS, datetime.timedelta(seconds=1))
    columns: list[Counter[str]] = [Counter() for _ in range(COLUMNS)]
    for run in ended:
        place = min((_ended(run) - first) // step, COLUMNS - 1)
        columns[place][run.outcome] += 1
    titles = [
        f"{(first + place * step).astimezone(zone):%a %H:%M}: "
        + (", ".join(f"{number} {outcome}" for outcome, number in column.items()) or "none")
        for place, column in enumerate(columns)
    ]
    written = "%a %H:%M" if last - first > datetime.timedelta(hours=4) else "%H:%M:%S"
    ticks = [f"{(first + step * (COLUMNS * turn // 4)).astimezone(zone):{written}}" for turn in range(4)]
    counts = Counter(run.outcome for run in ended)
    said = ", ".join(f"{number:,} {outcome}" for outcome, number in counts.most_common())
    return stacked(
        columns,
        titles,
        OUTCOMES,
        ticks=ticks,
        summary=f"{counted(len(ended), 'run')} within {span(last - first)}: {said}",
    )


def _ended(run: Run) -> datetime.datetime:
    return run.ended_at or run.scheduled_at
