"""Creates, changes, removes and lists task instances at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pyncette._leases.access import Access
from pyncette._leases.registration import Register, Remove
from pyncette._tasks.bound import BoundTask
from pyncette._tasks.control import CONTROL
from pyncette._tasks.existing import IfExists, Scheduling
from pyncette._tasks.names import check_name
from pyncette._tasks.task import Task, check_task
from pyncette._validation.checks import check_flag
from pyncette.record import Ref

from .states import TaskState, describe


class Instances:
    """The operations on instances of one app context."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def schedule(self, instance: Task, if_exists: IfExists, *, paused: bool) -> Scheduling:
        write = Register(instance, if_exists, to_be_paused=paused, carried=self._access.observers.carried())
        await self._access.writer.store(write)
        return write.how

    async def unschedule(self, task: Task, name: str | None) -> None:
        write = Remove(instance_ref(task, name))
        await self._access.writer.store(write)

    async def get(self, task: Task, name: str | None) -> TaskState | None:
        parent, ref = locate(task, name)
        now = self._access.clock.now()
        record, control = await self._access.store.read((ref, CONTROL))
        self._access.reading.take(control, now)
        return None if record is None else describe(parent, record, self._access.reading.control, now)


def check_if_exists(given: IfExists, *, force: bool) -> IfExists:
    """What to do if the instance exists.

    :raises ValueError: it is not a valid value, or ``force`` contradicts it.
    """
    check_flag("force", force)
    words = get_args(IfExists)
    if given not in words:
        raise ValueError(f"if_exists must be one of {', '.join(map(repr, words))}, not {given!r}.")
    if not force:
        return given
    if given not in ("update", "replace"):
        raise ValueError(f'force=True means if_exists="replace", which excludes {given!r}: pass one of them.')
    return "replace"


def unbound(
    task: Task | BoundTask, args: Mapping[str, Any] | None, kwargs: Mapping[str, object]
) -> tuple[Task, Mapping[str, Any] | None]:
    """The task, and its arguments, which are passed either bound to it or separately.

    :raises TypeError: they are passed both ways.
    """
    if not isinstance(task, BoundTask):
        return task, args
    if args is not None or kwargs:
        raise TypeError(f"{task.task.name!r} has its arguments from with_args(): pass all of them there.")
    bound: Task = task.task
    return bound, task.named_args()


def locate(task: Task, name: str | None) -> tuple[Task, Ref]:
    """The parent and the record's location of a static task, an instance, or a template's instance with this name.

    :raises ValueError: the name is missing or superfluous.
    """
    check_task(task)
    if task.dynamic:
        if name is None:
            raise ValueError(f"{task.name!r} is a dynamic task: name the instance as well.")
        parent = task.parent_of(check_name(name, "task instance"))
        return parent, parent.restore(name, None, {}).ref
    if name is not None:
        raise ValueError(f"{task.name!r} is not a dynamic task: leave the instance name {name!r} out.")
    return task.parent_task or task, task.ref


def instance_ref(task: Task, name: str | None) -> Ref:
    """The location of an instance's record, given the instance, or its template and name.

    :raises ValueError: it is a static task, or the name is missing or superfluous.
    """
    check_task(task)
    if not task.dynamic and task.parent_task is None:
        raise ValueError(f"{task.name!r} is a static task and can't be unscheduled: set its enabled to False instead.")
    return locate(task, name)[1]
