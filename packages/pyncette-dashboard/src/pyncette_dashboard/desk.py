"""The opened dashboard: storage, cache, jobs, and the questions that pages share."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pyncette import Finding, PyncetteContext, StoredTask, Task, TaskState, Worker
from pyncette.errors import RepositoryException

from . import questions
from .board import Answer, Board, Question
from .jobs import Jobs
from .questions import Pulse, Size

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")


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
        return await self.shared("tasks", self.context.tasks, every=20, costs=2)

    async def workers(self) -> list[Worker]:
        """Those at work."""
        return await self.board.fresh(self._workers)

    async def orphans(self) -> list[StoredTask]:
        """What no worker executes."""
        return await self.board.fresh(self._orphans)

    async def checked(self) -> list[Finding]:
        """What the storage finds when it checks itself; takes its time, so nothing as long as that is not known."""
        answer = self.board.begin(Question("checked", self.context.diagnose, every=300), must=False)
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

    async def size(self, task: Task) -> Size:
        """How large a template is."""
        return await self.board.fresh(self._size_of(task))

    def begin(self, tasks: Sequence[StoredTask]) -> list[Answer[Any]]:
        """Ask how tasks are doing and who executes them, without waiting for the answers."""
        self.board.begin(self._workers)
        self.board.begin(self._orphans)
        return self._begin_oldest("pulse", tasks, self._pulse_of)

    def begin_sizes(self, tasks: Sequence[StoredTask]) -> list[Answer[Any]]:
        """Ask how large templates are, which takes much longer, without waiting for the answers."""
        return self._begin_oldest("size", [each for each in tasks if each.kind != "static"], self._size_of)

    def _begin_oldest(
        self, what: str, tasks: Sequence[StoredTask], question: Callable[[Task], Question[Any]]
    ) -> list[Answer[Any]]:
        """Begin with those that were asked about longest ago."""
        ordered = sorted(tasks, key=lambda each: self.board.age((what, each.name, each.kind)), reverse=True)
        return [self.board.begin(question(self.context.task_of(stored)), must=False) for stored in ordered]

    def glance(self, stored: StoredTask) -> tuple[Pulse | None, Size | None]:
        """What is known of a task; None for what is not known yet."""
        about = (stored.name, stored.kind)
        return self.board.known(("pulse", *about)), self.board.known(("size", *about))

    @property
    def _workers(self) -> Question[list[Worker]]:
        return Question("workers", self.context.workers, every=5)

    @property
    def _orphans(self) -> Question[list[StoredTask]]:
        return Question("orphans", lambda: questions.orphans(self.context), every=60, costs=2)

    def _pulse_of(self, task: Task) -> Question[Pulse]:
        costs = 3 if task.dynamic else 1
        key = ("pulse", task.name, task.kind)
        return Question(key, lambda: questions.pulse(self.context, task), every=4, costs=costs)

    def _size_of(self, task: Task) -> Question[Size]:
        key = ("size", task.name, task.kind)
        return Question(key, lambda: questions.size(self.context, task), every=60, costs=4)

    async def instance(self, task: Task, name: str | None) -> TaskState | None:
        """One instance, or a static task."""
        return await self.shared(("instance", task.name, task.kind, name), lambda: self.context.get_task(task, name))

    async def shared(self, key: Hashable, ask: Callable[[], Awaitable[T]], *, every: float = 2.0, costs: int = 1) -> T:
        """The answer to a question that all viewers share.

        :raises Unreachable: nothing is known, and the storage does not answer.
        """
        return await self.board.fresh(Question(key, ask, every, costs))

    async def note(self, who: str, what: str, task: str | None, instance: str | None, detail: str) -> None:
        """Write to the log of actions. What was done is done, so that its failure is no failure of the act."""
        about = [repr(name) for name in (task, instance) if name is not None] + [detail] * bool(detail)
        logger.info("%s: %s", who, " ".join([what, *about]))
        try:
            await self.context.note_action(who, what, task=task, instance=instance, detail=detail)
        except RepositoryException as e:
            logger.error("The log of actions could not be written: %s", e)
