"""Queries of the run log."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from pyncette._leases.store import Store
from pyncette._lifecycle.log import decode
from pyncette._schedules.moments import to_datetime
from pyncette._tasks.names import task_of
from pyncette.events import RunOutcome
from pyncette.record import RunLine, RunQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedOccurrences:
    """Occurrences that were skipped together. Moments are in UTC.

    :ivar exact: False if there were more than ``count``.
    """

    reason: str
    first: datetime.datetime
    last: datetime.datetime
    count: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """A line of the log. Moments are in UTC.

    :ivar task: the name of the static task, or of the template.
    :ivar instance: the name of the instance, None for a static task.
    :ivar outcome: how the run ended: a :data:`pyncette.events.RunOutcome`.
    :ivar scheduled_at: the occurrence.
    :ivar started_at: when its last attempt began; None if none did.
    :ivar ended_at: when it ended, or the skipping was decided.
    :ivar attempts: how many attempts were started.
    :ivar reason: why, where the outcome does not say it.
    :ivar error: type and text of the last error, 500 characters at most.
    :ivar worker: the worker that executed it last, or decided about it.
    :ivar skips: what was skipped together with it.
    :ivar trigger: what caused it: a :data:`pyncette.events.Trigger`.
    :ivar run_id: the id of a manual or backfill run, None for a scheduled one.
    """

    task: str
    instance: str | None
    outcome: str
    scheduled_at: datetime.datetime
    started_at: datetime.datetime | None
    ended_at: datetime.datetime
    attempts: int
    reason: str
    error: str
    worker: str
    skips: tuple[SkippedOccurrences, ...]
    trigger: str
    run_id: str | None


@dataclass(frozen=True, slots=True)
class RunsPage:
    """A page of the log, newest first.

    :ivar continuation_token: pass it to get the next page; None when there are no more.
    """

    runs: list[LoggedRun]
    continuation_token: str | None


async def page(store: Store, question: RunQuestion) -> RunsPage:
    """A page of the log."""
    lines = await store.runs(question)
    more = len(lines) == question.limit
    return RunsPage(list(_read(lines)), _encoded(lines[-1]) if more else None)


def check_outcomes(outcomes: Iterable[str] | None) -> list[str] | None:
    """:raises TypeError, ValueError: they are a single string, or one of them is unknown."""
    if outcomes is None:
        return None
    if isinstance(outcomes, str):
        raise TypeError(f"outcomes must be a list, not one text: write [{outcomes!r}].")
    chosen, known = list(outcomes), get_args(RunOutcome)
    for outcome in chosen:
        if outcome not in known:
            raise ValueError(f"outcomes must be of {', '.join(map(repr, known))}, not {outcome!r}.")
    return chosen


def _read(lines: Iterable[RunLine]) -> Iterable[LoggedRun]:
    """The lines as users see them. Damaged ones are left out."""
    for line in lines:
        logged = decode(line.text)
        if logged is None:
            continue
        name, kind, _ = task_of(line.queue)
        instance = None if kind == "static" else line.key[len(line.queue) + 1 :].replace("::", ":")
        yield LoggedRun(
            task=name,
            instance=instance,
            outcome=line.outcome,
            scheduled_at=to_datetime(logged.scheduled_at),
            started_at=None if logged.started_at is None else to_datetime(logged.started_at),
            ended_at=to_datetime(line.ended_at),
            attempts=logged.attempts,
            reason=logged.reason,
            error=logged.error,
            worker=logged.worker,
            skips=tuple(
                SkippedOccurrences(
                    reason=skip.reason,
                    first=to_datetime(skip.first),
                    last=to_datetime(skip.last),
                    count=skip.count,
                    exact=skip.exact,
                )
                for skip in logged.skips
            ),
            trigger=logged.trigger,
            run_id=logged.run_id,
        )


def _encoded(line: RunLine) -> str:
    return base64.urlsafe_b64encode(json.dumps([line.ended_at, line.id]).encode()).decode()


def place_of(token: str | None) -> tuple[int, str] | None:
    """Where the previous page ended, from its continuation token.

    :raises ValueError: it is not a continuation token.
    """
    if token is None:
        return None
    try:
        match json.loads(base64.urlsafe_b64decode(token)):
            case [int() as ended_at, str() as name]:
                return ended_at, name
    except (ValueError, TypeError):
        pass
    raise ValueError("This is not a continuation token of runs(): pass the one of the previous page.")
