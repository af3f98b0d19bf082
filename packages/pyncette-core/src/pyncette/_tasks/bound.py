"""A task with arguments that its function declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic

from .arguments import Arguments

if TYPE_CHECKING:  # the default lets `Task` stand for tasks of any arguments; typing has it since Python 3.13
    from typing_extensions import ParamSpec

    P = ParamSpec("P", default=...)
else:
    from typing import ParamSpec

    P = ParamSpec("P")


class BoundTask(Generic[P]):
    """A task with arguments, as returned by :meth:`Task.with_args`.

    :ivar task: the :class:`Task`.
    """

    __slots__ = ("_args", "_kwargs", "task")

    def __init__(self, task: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.task: Any = task
        self._args = args
        self._kwargs = kwargs

    def named_args(self) -> dict[str, Any]:
        """The arguments by name.

        :raises TypeError: one is unknown, or the function declares none.
        """
        arguments: Arguments | None = self.task.arguments
        if arguments is not None:
            return arguments.named(self._args, self._kwargs)
        if self._args or self._kwargs:
            raise TypeError(
                f"The function of {self.task.name!r} declares no arguments that with_args() could check: declare them "
                "after its context, or pass them as keywords of schedule_task()."
            )
        return {}

    def args_for(self, task: Any) -> dict[str, Any]:
        """Like :meth:`named_args`.

        :raises TypeError: they belong to a different task than ``task``.
        """
        if self.task.template.canonical_name != task.template.canonical_name:
            raise TypeError(f"These are arguments of {self.task.name!r}: write {task.name}.with_args(…).")
        return self.named_args()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.task.canonical_name!r}>"  # arguments may be secrets
