"""Forecasts occurrences from schedules and a sample of the instances. Pure."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyncette import TaskState
from pyncette.schedule import upcoming

MOST_SCHEDULES = 100
"""The maximum number of different cron expressions that are computed. Of any others, only the stored occurrence
counts."""

MOST_OCCURRENCES = 6000
"""The maximum number of occurrences computed from cron expressions. If that was not enough, the page says so."""

WAITING = ("waiting", "due", "retrying", "running")
"""States of instances that have a next occurrence."""

_Cron = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Numbers of occurrences.

    :ivar buckets: by task, the number of occurrences in each time span.
    :ivar sampled: whether the numbers are estimates.
    :ivar cut: whether some occurrences were not counted, because there are too many.
    :ivar pending: whether counting has not finished, so there are no numbers yet.
    """

    start: datetime.datetime
    step: datetime.timedelta
    buckets: Mapping[str, Sequence[float]]
    sampled: bool
    cut: bool
    pending: bool = False

    @property
    def totals(self) -> list[float]:
        """Over all tasks."""
        return [sum(column) for column in zip(*self.buckets.values(), strict=True)]


def forecast(
    samples: Mapping[str, tuple[Sequence[TaskState], float]],
    start: datetime.datetime,
    step: datetime.timedelta,
    count: int,
) -> Forecast:
    """The number of occurrences in each of ``count`` time spans from ``start`` on.

    :param samples: by task, sampled instances, and the number of instances that each of them represents.
    """
    spans = _Spans(start, step, count)
    buckets: dict[str, list[float]] = {}
    for name, (states, weight) in samples.items():
        row = [0.0] * count
        for alike, times in _alike(state for state in states if state.state in WAITING):
            for place, number in spans.of(alike):
                row[place] += number * times * weight
        buckets[name] = row
    return Forecast(start, step, buckets, any(weight != 1 for _, weight in samples.values()), spans.cut)


@dataclass(frozen=True, slots=True)
class _Alike:
    """The properties that determine occurrences: instances with equal ones are computed together."""

    first: datetime.datetime
    cron: _Cron | None
    interval: datetime.timedelta | None
    end_at: datetime.datetime | None


def _alike(states: Iterable[TaskState]) -> Iterable[tuple[_Alike, int]]:
    return Counter(
        _Alike(
            state.scheduled_at,
            None if state.task.schedule is None else (state.task.schedule, state.task.timezone),
            state.task.interval,
            state.task.end_at,
        )
        for state in states
    ).items()


class _Spans:
    """Counts occurrences by time span. Those of one cron expression are computed once.

    :ivar cut: whether there were too many to count them all.
    """

    def __init__(self, start: datetime.datetime, step: datetime.timedelta, count: int) -> None:
        self.cut = False
        self._start = start
        self._step = step
        self._count = count
        self._left = MOST_OCCURRENCES
        self._crons: dict[_Cron, list[datetime.datetime]] = {}

    def of(self, alike: _Alike) -> Iterator[tuple[int, float]]:
        """The index of each time span with occurrences, and their number."""
        end = self._start + self._count * self._step
        if alike.end_at is not None:
            end = min(end, alike.end_at)
        if alike.first >= end:
            return
        yield self._place(alike.first), 1
        if alike.interval is not None:
            yield from self._of_interval(alike.first, alike.interval, end)
        elif alike.cron is not None:
            later = [moment for moment in self._of_cron(alike.cron) if alike.first < moment < end]
            yield from Counter(map(self._place, later)).items()

    def _place(self, moment: datetime.datetime) -> int:
        return max(moment - self._start, datetime.timedelta(0)) // self._step

    def _of_interval(
        self, first: datetime.datetime, interval: datetime.timedelta, end: datetime.datetime
    ) -> Iterator[tuple[int, float]]:
        """The occurrences after the first. Overdue ones are left out, as they may or may not be caught up."""
        passed = max(0, (self._start - first) // interval)
        begin, every, step = _micros(first - self._start), _micros(interval), _micros(self._step)
        until = _micros(end - self._start)
        if every >= step:
            for moment in range(begin + (passed + 1) * every, until, every):
                yield moment // step, 1
            return
        for place in range(self._place(first), -(-until // step)):  # computed without listing each occurrence
            number = max(-((begin - min((place + 1) * step, until)) // every) - 1, passed)
            if number > passed:
                yield place, number - passed
            passed = number

    def _of_cron(self, cron: _Cron) -> list[datetime.datetime]:
        if cron not in self._crons:
            if len(self._crons) >= MOST_SCHEDULES or self._left <= 0:
                self.cut = True
                return []
            end = self._start + self._count * self._step
            found = _of_cron(*cron, self._start, end, self._left)
            if len(found) == self._left:
                self.cut = True
            self._left -= len(found)
            self._crons[cron] = found
        return self._crons[cron]


def _micros(value: datetime.timedelta) -> int:
    return value // datetime.timedelta(microseconds=1)


def _of_cron(
    text: str, timezone: str | None, start: datetime.datetime, end: datetime.datetime, most: int
) -> list[datetime.datetime]:
    try:
        found = upcoming(schedule=text, timezone=timezone, after=start - datetime.timedelta(seconds=1))
        within = itertools.takewhile(lambda moment: moment < end, found)
        return list(itertools.islice(within, most))
    except ValueError:  # the expression has no further match
        return []


@dataclass(frozen=True, slots=True)
class Peak:
    """Many occurrences of one task in one minute.

    :ivar count: the number of occurrences.
    """

    task: str
    at: datetime.datetime
    count: float


def peaks(samples: Mapping[str, tuple[Sequence[TaskState], float]], most: int) -> list[Peak]:
    """The minutes with the most next occurrences of one task, if at least two sampled instances have one in them."""
    found: list[Peak] = []
    for name, (states, weight) in samples.items():
        minutes = Counter(
            state.scheduled_at.astimezone(datetime.UTC).replace(second=0, microsecond=0)
            for state in states
            if state.state in WAITING
        )
        found += [Peak(name, at, number * weight) for at, number in minutes.items() if number > 1]
    return sorted(found, key=lambda peak: (-peak.count, peak.at, peak.task))[:most]
