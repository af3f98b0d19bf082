"""The services that pages use: storage, cache, jobs, and shared queries."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pyncette import Finding, PyncetteContext, StoredTask, Task, TaskState, Worker
from pyncette.errors import RepositoryException

from . import questions
from .cache import Answer, AnswerCache, Question
from .jobs import Jobs
from .questions import Size, TaskStatus

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Services:
    """The services of an open dashboard, which its pages use.

    :ivar templates: the tasks, by name, kind and number of partitions.
    :ivar hide_arguments: whether no page shows arguments of instances.
    """

    context: PyncetteContext
    cache: AnswerCache
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
        return await self.shared("tasks", self.context.tasks, every=20, costs=2)

    async def workers(self) -> list[Worker]:
        """The live workers."""
        return await self.cache.fresh(self._workers)

    async def orphans(self) -> list[StoredTask]:
        """The tasks that no worker executes."""
        return await self.cache.fresh(self._orphans)

    async def checked(self) -> list[Finding]:
        """The storage's findings about itself. They take long, so this is empty until they are known."""
        answer = self.cache.begin(Question("checked", self.context.diagnose, every=300), must=False)
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
        :raises LookupError: nothing is stored of this task.
        """
        stored = await self.stored(name, kind)
        known = (stored.name, stored.kind, stored.partition_count)
        if known not in self.templates:
            self.templates[known] = self.context.task_of(stored)
        return self.templates[known]

    async def size(self, task: Task) -> Size:
        """The size of a template."""
        return await self.cache.fresh(self._size_of(task))

    def begin(self, tasks: Sequence[StoredTask]) -> list[Answer[Any]]:
        """Ask for the status of tasks and for their workers, without waiting for the answers."""
        self.cache.begin(self._workers)
        self.cache.begin(self._orphans)
        return self._begin_oldest("status", tasks, self._status_of)

    def begin_sizes(self, tasks: Sequence[StoredTask]) -> list[Answer[Any]]:
        """Ask for the sizes of templates, which takes much longer, without waiting for the answers."""
        return self._begin_oldest("size", [each for each in tasks if each.kind != "static"], self._size_of)

    def _begin_oldest(
        self, what: str, tasks: Sequence[StoredTask], question: Callable[[Task], Question[Any]]
    ) -> list[Answer[Any]]:
        """Ask first about the tasks whose answers are oldest."""
        ordered = sorted(tasks, key=lambda each: self.cache.age((what, each.name, each.kind)), reverse=True)
        return [self.cache.begin(question(self.context.task_of(stored)), must=False) for stored in ordered]

    def known(self, stored: StoredTask) -> tuple[TaskStatus | None, Size | None]:
        """The status and size of a task, each None while it is unknown."""
        about = (stored.name, stored.kind)
        return self.cache.known(("status", *about)), self.cache.known(("size", *about))

    @property
    def _workers(self) -> Question[list[Worker]]:
        return Question("workers", self.context.workers, every=5)

    @property
    def _orphans(self) -> Question[list[StoredTask]]:
        return Question("orphans", lambda: questions.orphans(self.context), every=60, costs=2)

    def _status_of(self, task: Task) -> Question[TaskStatus]:
        costs = 3 if task.dynamic else 1
        key = ("status", task.name, task.kind)
        return Question(key, lambda: questions.status(self.context, task), every=4, costs=costs)

    def _size_of(self, task: Task) -> Question[Size]:
        key = ("size", task.name, task.kind)
        return Question(key, lambda: questions.size(self.context, task), every=60, costs=4)

    async def instance(self, task: Task, name: str | None) -> TaskState | None:
        """One instance, or a static task."""
        return await self.shared(("instance", task.name, task.kind, name), lambda: self.context.get_task(task, name))

    async def shared(self, key: Hashable, ask: Callable[[], Awaitable[T]], *, every: float = 2.0, costs: int = 1) -> T:
        """The answer to a question that all viewers share.

        :raises Unreachable: there is no answer, and the storage is not responding.
        """
        return await self.cache.fresh(Question(key, ask, every, costs))

    async def note(self, who: str, what: str, task: str | None, instance: str | None, detail: str) -> None:
        """Write to the log of actions. The action has already taken place, so an error here is only logged."""
        about = [repr(name) for name in (task, instance) if name is not None] + [detail] * bool(detail)
        logger.info("%s: %s", who, " ".join([what, *about]))
        try:
            await self.context.note_action(who, what, task=task, instance=instance, detail=detail)
        except RepositoryException as e:
            logger.error("The log of actions could not be written: %s", e)
