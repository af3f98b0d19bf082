"""What users do with instances while the app runs: they schedule, change, remove and look at them."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, TypeAlias, overload

from pyncette._tasks.bound import BoundTask, P
from pyncette._tasks.existing import IfExists
from pyncette._tasks.keywords import Argument
from pyncette._tasks.task import Task
from pyncette._tasks.timing import Timing

from .bulk import BulkResult, ImportedInstance, Progress, import_many, schedule_many, unschedule_many
from .instances import Instances, unbound, what_if_exists
from .states import TaskState
from .steering import Steering

WithArgs: TypeAlias = tuple[str, BoundTask[P]] | tuple[str, BoundTask[P], Mapping[str, Any]]
"""An instance of a template whose function declares its arguments: its name, ``template.with_args(…)``, keywords."""


class Scheduling(Steering):
    """The part of an app context that changes instances."""

    _instances: Instances

    async def schedule_task(
        self,
        task: Task[[]] | BoundTask,
        /,
        instance_name: str,
        force: bool = False,
        *,
        if_exists: IfExists = "update",
        paused: bool = False,
        schedule: str | None = None,
        interval: datetime.timedelta | None = None,
        execute_at: datetime.datetime | None = None,
        timezone: str | None = None,
        start_at: datetime.datetime | None = None,
        end_at: datetime.datetime | None = None,
        max_runs: int | None = None,
        args: Mapping[str, Any] | None = None,
        **kwargs: Argument,
    ) -> Task:
        """Schedule an instance of a dynamic task, or change it if it exists. Returns when it is safely stored.

        An instance that exists gets the new schedule and arguments, whatever it is doing. If its schedule is the same,
        its next occurrence stays: calling this again and again can't put it off. If it is another one, the next
        occurrence is the first of the new schedule, sooner or later than the old one; a recurring instance that is
        overdue is still executed once before. An execution under way goes on with the arguments that it began with.
        A paused instance stays paused, a dead one revives if its schedule changes.

        :param task: the template; of one whose function declares its arguments, ``template.with_args(…)``.
        :param instance_name: the instance's name, unique under the template.
        :param force: the same as ``if_exists="replace"``.
        :param if_exists: what to do about an instance that exists: ``"update"`` as above; ``"keep"`` leaves it as it
            is; ``"replace"`` overwrites all of it, next occurrence, pause, recent runs and lease included, so that an
            execution under way loses its lease; ``"error"`` refuses.
        :param paused: pause the instance as well, as :meth:`pause_task` does.
        :param schedule: a cron expression. The template's schedule is the default of all three kinds.
        :param interval: the time between two occurrences, the first of them counted from now.
        :param execute_at: the only occurrence. A naive one is local time.
        :param timezone: of ``schedule``; the template's by default.
        :param start_at: the first moment; an interval counts from it. It may lie in the past.
        :param end_at: the last moment, included.
        :param max_runs: how many occurrences are executed, whatever becomes of them.
        :param args: arguments of any name.
        :param kwargs: further arguments of the task; the template's are the defaults.
        :return: the concrete instance. Its ``scheduling`` says what became of it: see :class:`pyncette.Scheduling`.
        :raises TaskExistsException: the instance exists, and ``if_exists`` is ``"error"``.
        :raises StorageVersionException: a later version of Pyncette has stored it; it was left as it is.
        :raises ValueError: schedule, arguments or name are not valid, or this app does not declare the task.
        :raises TypeError: a policy is given, or a keyword is misspelt; an argument that the function declares is
            missing or of another type, or it declares no such argument.
        :raises RuntimeError: the caller is in another thread or event loop than the app: see :meth:`from_thread`.
        :raises RepositoryException: the storage failed; whether the instance is stored is unknown.
        """
        template, args = unbound(task, args, kwargs)
        self._calls.check("schedule_task", template)
        timing = Timing(
            schedule=schedule,
            interval=interval,
            execute_at=execute_at,
            timezone=timezone,
            start_at=start_at,
            end_at=end_at,
            max_runs=max_runs,
        )
        concrete = template.instantiate(instance_name, **timing, args=args, **kwargs)
        concrete.scheduling = await self._instances.schedule(
            concrete, what_if_exists(if_exists, force=force), paused=paused
        )
        return concrete

    @overload
    async def schedule_tasks(
        self,
        task: Task[[]],
        instances: Iterable[tuple[str, Mapping[str, Any]]] | AsyncIterable[tuple[str, Mapping[str, Any]]],
        force: bool = False,
        progress: Progress | None = None,
        *,
        if_exists: IfExists = "update",
    ) -> BulkResult: ...

    @overload
    async def schedule_tasks(
        self,
        task: Task[P],
        instances: Iterable[WithArgs[P]] | AsyncIterable[WithArgs[P]],
        force: bool = False,
        progress: Progress | None = None,
        *,
        if_exists: IfExists = "update",
    ) -> BulkResult: ...

    async def schedule_tasks(
        self,
        task: Task,
        instances: Iterable[Any] | AsyncIterable[Any],
        force: bool = False,
        progress: Progress | None = None,
        *,
        if_exists: IfExists = "update",
    ) -> BulkResult:
        """Schedule many instances with few round trips, in batches of 1,000; each as by :meth:`schedule_task`.

        An instance that is refused does not keep the rest from being scheduled. The call is not a transaction.

        :param task: the template.
        :param instances: pairs of instance name and keywords; of a template whose function declares its arguments, the
            name, ``template.with_args(…)``, and keywords if there are any. Consumed batch by batch.
        :param force: the same as ``if_exists="replace"``.
        :param progress: called after each batch with the number of instances dealt with so far.
        :param if_exists: what to do about instances that exist, as in :meth:`schedule_task`.
        """
        self._calls.check("schedule_tasks", task)
        wanted = what_if_exists(if_exists, force=force)
        return await schedule_many(self._bulk("schedule_tasks", task), instances, if_exists=wanted, progress=progress)

    async def import_tasks(
        self,
        task: Task,
        instances: Iterable[ImportedInstance] | AsyncIterable[ImportedInstance],
        progress: Progress | None = None,
    ) -> BulkResult:
        """Schedule many instances that come from another storage, each with the next occurrence that it had there.

        One that exists already stays as it is, so that a call that was interrupted can be repeated.

        :param instances: triples of instance name, next occurrence (overdue ones are executed at once, a naive one is
            local time), and the keywords of :meth:`schedule_task`; consumed batch by batch.
        :param progress: called after each batch with the number of instances dealt with so far.
        """
        self._calls.check("import_tasks", task)
        return await import_many(self._bulk("import_tasks", task), instances, progress=progress)

    async def unschedule_task(self, task: Task, instance_name: str | None = None) -> None:
        """Remove an instance, whether or not it exists. An execution under way loses its lease.

        :param task: the template, with ``instance_name``; or a concrete instance.
        :raises RepositoryException: the storage failed; whether the instance is gone is unknown.
        """
        self._calls.check("unschedule_task", task)
        await self._instances.unschedule(task, instance_name)

    async def unschedule_tasks(
        self, task: Task, instance_names: Iterable[str] | AsyncIterable[str], progress: Progress | None = None
    ) -> BulkResult:
        """Remove many instances of a template with few round trips, in batches of 1,000."""
        self._calls.check("unschedule_tasks", task)
        return await unschedule_many(self._bulk("unschedule_tasks", task), instance_names, progress=progress)

    async def get_task(self, task: Task, instance_name: str | None = None) -> TaskState | None:
        """What is stored of a static task, of a concrete instance, or of the named instance of a template.

        :return: None if it is not stored.
        :raises ValueError: the instance name is missing, or there is one too many.
        """
        self._calls.check("get_task", task)
        return await self._instances.get(task, instance_name)
