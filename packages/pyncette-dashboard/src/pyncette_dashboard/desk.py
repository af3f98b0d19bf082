"""The opened dashboard: storage, cache, jobs, and the questions that pages share."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from pyncette import Finding, PyncetteContext, StoredTask, Task, TaskState, Worker
from pyncette.errors import RepositoryException

from . import questions
from .board import Board
from .jobs import Jobs
from .questions import Pulse, Size

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

SHORT = 0.05
"""Seconds that a page with many answers waits for one that it can go without."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What pages work with.

    :ivar templates: the tasks, by name, kind and number of partitions.
    :ivar hide_arguments: whether no page shows arguments of instances.
    """

    context: PyncetteContext
    board: Board
    jobs: Jobs
    title: str
    hide_arguments: bool
    templates: dict[tuple[str, str, int | None], Task] = field(default_factory=dict)

    @property
    def now(self) -> datetime.datetime:
        """The storage's time."""
        return questions.now_of(self.context)

    async def tasks(self) -> list[StoredTask]:
        """All tasks."""
        return await self.shared("tasks", self.context.tasks, every=20)

    async def workers(self) -> list[Worker]:
        """Those at work."""
        return await self.shared("workers", self.context.workers, every=5)

    async def orphans(self) -> list[StoredTask]:
        """What no worker executes."""
        return await self.shared("orphans", lambda: questions.orphans(self.context), every=60)

    async def checked(self) -> list[Finding]:
        """What the storage finds when it checks itself; takes its time, so nothing as long as that is not known."""
        answer = await self.board.get("checked", self.context.diagnose, every=300, wait=SHORT, must=False)
        return answer.value or []

    async def stored(self, name: str, kind: str = "") -> StoredTask:
        """The task of that name and kind.

        :raises LookupError: there is none.
        """
        found = [each for each in await self.tasks() if each.name == name and kind in ("", each.kind)]
        if not found:
            raise LookupError(f"There is no task {name!r}: nothing of it is stored, and no app here declares it.")
        return found[0]

    async def template(self, name: str, kind: str) -> Task:
        """
        :raises LookupError: nothing of it is stored.
        """
        stored = await self.stored(name, kind)
        known = (stored.name, stored.kind, stored.partition_count)
        if known not in self.templates:
            self.templates[known] = self.context.task_of(stored)
        return self.templates[known]

    async def pulse(self, task: Task) -> Pulse:
        """How a task is doing."""
        return await self.shared(("pulse", task.name, task.kind), lambda: questions.pulse(self.context, task), every=4)

    async def size(self, task: Task) -> Size:
        """How large a template is."""
        return await self.shared(("size", task.name, task.kind), lambda: questions.size(self.context, task), every=60)

    async def glance(self, stored: StoredTask) -> tuple[Pulse | None, Size | None]:
        """What is known of a task on a page with many of them; None for what is not known yet."""
        try:
            task = await self.template(stored.name, stored.kind)
        except LookupError:
            return None, None
        beat = await self.board.get(
            ("pulse", task.name, task.kind),
            lambda: questions.pulse(self.context, task),
            every=4,
            wait=SHORT,
            must=False,
        )
        if not task.dynamic:
            return beat.value, None
        known = await self.board.get(
            ("size", task.name, task.kind),
            lambda: questions.size(self.context, task),
            every=60,
            wait=SHORT,
            must=False,
        )
        return beat.value, known.value

    def age(self, stored: StoredTask) -> float:
        """Seconds since it was asked how a task is doing."""
        return self.board.age(("pulse", stored.name, stored.kind))

    async def instance(self, task: Task, name: str | None) -> TaskState | None:
        """One instance, or a static task."""
        return await self.shared(("instance", task.name, task.kind, name), lambda: self.context.get_task(task, name))

    async def shared(self, key: Hashable, question: Callable[[], Awaitable[T]], *, every: float = 2.0) -> T:
        """The answer to a question that all viewers share.

        :raises Unreachable: nothing is known, and the storage does not answer.
        """
        return await self.board.fresh(key, question, every=every)

    async def note(self, who: str, what: str, task: str, instance: str | None, detail: str) -> None:
        """Write to the log of actions. What was done is done, so that its failure is no failure of the act."""
        logger.info("%s: %s %r %r %s", who, what, task, instance, detail)
        try:
            await self.context.note_action(who, what, task=task, instance=instance, detail=detail)
        except RepositoryException as e:
            logger.error("The log of actions could not be written: %s", e)
