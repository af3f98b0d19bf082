"""Refuses calls of a running app that can't do what the caller intends, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterable

from pyncette._concurrency.eventloop import EventLoop
from pyncette._tasks.partition import PartitionedTask
from pyncette._tasks.task import Task, check_task

CLOSED = "The app context is closed: use it inside its block, async with app.create() as …."


_Form = tuple[bool, int]
"""Whether a task is dynamic, and its partition count or 0."""


class CallCheck:
    """Checks which calls an app context accepts, and from where.

    :ivar loop: the event loop that the context belongs to.
    :ivar closed: whether its block has been left.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.loop = EventLoop()
        self.closed = False
        self._forms: dict[str, set[_Form]] = {}
        for task in tasks:
            self.admit(task)

    def admit(self, task: Task) -> None:
        """Accept a task that this app doesn't declare, so that it can be listed and controlled."""
        self._forms.setdefault(task.name, set()).add(_form(task))

    def check_loop(self, method: str) -> None:
        """:raises RuntimeError: the caller is in another thread or event loop, or the context is closed."""
        if not self.loop.is_current:
            raise RuntimeError(
                f"{method}() belongs to the event loop in which app.create() was entered, and this is another thread "
                f"or loop. From a plain function write context.app_context.from_thread(context.app_context.{method}, …)"
                " with the arguments behind it; in a loop of its own open another context, async with app.create()."
            )
        if self.closed:
            raise RuntimeError(CLOSED)

    def check(self, method: str, task: Task) -> None:
        """
        :raises RuntimeError: as for :meth:`check_loop`.
        :raises TypeError: ``task`` is not a task.
        :raises ValueError: the app didn't declare it before the context was created, so this app would never execute
            it. A task of another app is accepted if this app declares it in the same way.
        """
        self.check_loop(method)
        check_task(task)
        asked = task.template
        forms = self._forms.get(asked.name)
        if forms is None:
            known = ", ".join(map(repr, list(self._forms)[:5])) or "none at all"
            raise ValueError(
                f"The task {asked.name!r} is not declared on the app that was opened (it has {known}), which would "
                "never execute it: declare it there, and before app.create(). If it is declared there, its module may "
                "be imported twice, as a program and by name: then keep the app in a module that is only imported. "
                "A program that lists and steers tasks of other apps gets them by find_task()."
            )
        if _form(asked) not in forms:
            raise ValueError(
                f"The task {asked.name!r} that was passed is declared in another way than the one of the app that was "
                "opened: both static, both dynamic, or both with the same partition_count."
            )


def _form(task: Task) -> _Form:
    return task.dynamic, task.partition_count if isinstance(task, PartitionedTask) else 0
