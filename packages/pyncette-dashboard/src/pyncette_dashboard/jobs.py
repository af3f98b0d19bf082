"""Long operations that an operator has started. They run in the background in batches and report their progress."""

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
"""The maximum number of jobs kept for viewing."""

BATCH = 100
"""The number of concurrent steps, which the writer stores together."""

SHOWN = 20
"""The maximum number of refusals kept with their reasons."""


@dataclass(slots=True)
class Job:
    """
    :ivar what: the operation in words.
    :ivar past: the participle for finished steps, such as ``retried``.
    :ivar task: the name of the task concerned; None if there are several.
    :ivar done: the number of steps that succeeded.
    :ivar refused: the number of steps that were refused.
    :ivar refusals: the first refused ones, with their reasons.
    :ivar error: why the job stopped early, if it did.
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
        """The percentage done; None if the total is unknown."""
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
        """Run the job in the background, and then ``ended``, however the job has ended."""
        self._jobs[job.id] = job
        while len(self._jobs) > KEPT:
            self._jobs.popitem(last=False)
        self._group.start_soon(_run, job, work, ended)


def new_job(what: str, past: str, task: str | None, who: str, total: int | None) -> Job:
    return Job(secrets.token_urlsafe(8), what, past, task, who, datetime.datetime.now(datetime.UTC), total)


def each_of(names: AsyncIterator[str], step: Callable[[str], Awaitable[bool]]) -> Work:
    """Calls ``step`` for each name. False means that the step was no longer necessary."""

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
