"""Long work that an operator has started: done here, in batches, with progress, whether or not anyone is watching."""

from __future__ import annotations

import datetime
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import anyio.abc

from pyncette.errors import PyncetteException

logger: logging.Logger = logging.getLogger(__name__)

KEPT = 100
"""Jobs that can be looked at."""

BATCH = 100
"""Steps that are under way at the same time: the writer stores them together."""

SHOWN = 20
"""Refusals that are kept with their reasons."""


@dataclass(slots=True)
class Job:
    """
    :ivar what: what is done, in words.
    :ivar past: what has become of what is done, in a word.
    :ivar task: the name of the task concerned; None if there are several.
    :ivar done: steps that were done.
    :ivar refused: how many were not.
    :ivar refusals: the first of them, with the reasons.
    :ivar error: why it ended before its end.
    """

    id: str
    what: str
    past: str
    task: str | None
    who: str
    began_at: datetime.datetime
    total: int | None = None
    done: int = 0
    refused: int = 0
    refusals: list[tuple[str, str]] = field(default_factory=list)
    ended_at: datetime.datetime | None = None
    error: str = ""

    @property
    def share(self) -> int | None:
        """Per cent that are done; None if the number is not known."""
        if self.ended_at is not None and not self.error:
            return 100
        return None if not self.total else min(99, 100 * (self.done + self.refused) // self.total)


Work = Callable[[Job], Awaitable[None]]


class Jobs:
    """The jobs of one dashboard."""

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self._group = group
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def all(self) -> list[Job]:
        """The newest first."""
        return list(reversed(self._jobs.values()))

    def start(self, job: Job, work: Work, ended: Work) -> None:
        """Do it in the background, and ``ended`` afterwards, whatever has become of it."""
        self._jobs[job.id] = job
        while len(self._jobs) > KEPT:
            self._jobs.popitem(last=False)
        self._group.start_soon(_run, job, work, ended)


def new_job(what: str, past: str, task: str | None, who: str, total: int | None) -> Job:
    return Job(secrets.token_urlsafe(8), what, past, task, who, datetime.datetime.now(datetime.UTC), total)


def each_of(names: AsyncIterator[str], step: Callable[[str], Awaitable[bool]]) -> Work:
    """Something for each name; what ``step`` answers with False was not needed any more."""

    async def work(job: Job) -> None:
        batch: list[str] = []
        async for name in names:
            batch.append(name)
            if len(batch) == BATCH:
                await _do(job, batch, step)
                batch = []
        await _do(job, batch, step)

    return work


async def _run(job: Job, work: Work, ended: Work) -> None:
    try:
        await work(job)
    except (PyncetteException, OSError, TimeoutError, ValueError) as e:
        job.error = " ".join(str(e).split())[:300] or type(e).__name__
    await ended(job)
    job.ended_at = datetime.datetime.now(datetime.UTC)


async def _do(job: Job, batch: list[str], step: Callable[[str], Awaitable[bool]]) -> None:
    async def one(name: str) -> None:
        try:
            if await step(name):
                job.done += 1
            else:
                _refuse(job, name, "it was no longer dead")
        except (PyncetteException, ValueError) as e:
            _refuse(job, name, " ".join(str(e).split())[:300])

    async with anyio.create_task_group() as group:
        for name in batch:
            group.start_soon(one, name)


def _refuse(job: Job, name: str, why: str) -> None:
    job.refused += 1
    if len(job.refusals) < SHOWN:
        job.refusals.append((name, why))
