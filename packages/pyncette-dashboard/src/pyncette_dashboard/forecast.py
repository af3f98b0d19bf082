"""What is due when, as far as schedules and a sample of the instances show it. Pure."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyncette import TaskState
from pyncette.schedule import upcoming

MOST_SCHEDULES = 100
"""Different cron expressions whose occurrences are computed; of further ones the stored occurrence alone counts."""

MOST_OCCURRENCES = 6000
"""Occurrences of cron expressions that are computed. A page says so where that was not enough."""

WAITING = ("waiting", "due", "retrying", "running")
"""States in which something comes."""

_Cron = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Numbers of occurrences.

    :ivar buckets: by task, how many there are in each span of time.
    :ivar sampled: whether they are estimates.
    :ivar cut: whether some schedules were too many to be followed.
    :ivar pending: whether they are still being counted: there is nothing yet.
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
    """How many occurrences there are in each of ``count`` spans from ``start`` on.

    :param samples: by task, instances, and how many instances each of them stands for.
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
    """What instances have in common whose occurrences are the same."""

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
    """How many occurrences lie in each span of time. Those of one cron expression are computed once.

    :ivar cut: whether there were too many for some of them.
    """

    def __init__(self, start: datetime.datetime, step: datetime.timedelta, count: int) -> None:
        self.cut = False
        self._start = start
        self._step = step
        self._count = count
        self._left = MOST_OCCURRENCES
        self._crons: dict[_Cron, list[datetime.datetime]] = {}

    def of(self, alike: _Alike) -> Iterator[tuple[int, float]]:
        """Places of spans, and how many occurrences there are in each."""
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
        """Those after the first. What is overdue is caught up with, or not: unknown yet."""
        passed = max(0, (self._start - first) // interval)
        begin, every, step = _micros(first - self._start), _micros(interval), _micros(self._step)
        until = _micros(end - self._start)
        if every >= step:
            for moment in range(begin + (passed + 1) * every, until, every):
                yield moment // step, 1
            return
        for place in range(self._place(first), -(-until // step)):  # counted and not listed
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
    except ValueError:  # its last match has passed
        return []


@dataclass(frozen=True, slots=True)
class Peak:
    """Many occurrences of one task in one minute.

    :ivar count: how many.
    """

    task: str
    at: datetime.datetime
    count: float


def peaks(samples: Mapping[str, tuple[Sequence[TaskState], float]], most: int) -> list[Peak]:
    """The minutes with most of the next occurrences of one task, of those that at least two sampled instances have."""
    found: list[Peak] = []
    for name, (states, weight) in samples.items():
        minutes = Counter(
            state.scheduled_at.astimezone(datetime.UTC).replace(second=0, microsecond=0)
            for state in states
            if state.state in WAITING
        )
        found += [Peak(name, at, number * weight) for at, number in minutes.items() if number > 1]
    return sorted(found, key=lambda peak: (-peak.count, peak.at, peak.task))[:most]
