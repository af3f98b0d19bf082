"""Scheduling, changing, removing and reading instances while the app runs."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, TypeAlias, overload

from pyncette._leases.partitions import PartitionCounts
from pyncette._tasks.bound import BoundTask, P
from pyncette._tasks.existing import IfExists
from pyncette._tasks.keywords import Argument
from pyncette._tasks.task import Task
from pyncette._tasks.timing import Timing
from pyncette._validation.checks import check_flag

from .bulk import BulkResult, ImportedInstance, Progress, import_many, schedule_many, unschedule_many
from .instances import Instances, check_if_exists, unbound
from .states import TaskState
from .steering import Steering

WithArgs: TypeAlias = tuple[str, BoundTask[P]] | tuple[str, BoundTask[P], Mapping[str, Any]]
"""An instance of a template whose function declares its arguments: its name, ``template.with_args(…)``, keywords."""


class Scheduling(Steering):
    """The part of an app context that changes instances."""

    _partitions: PartitionCounts

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
        transaction: object = None,
        **kwargs: Argument,
    ) -> Task:
        """Schedule an instance of a dynamic task, or update it if it exists. Returns when it is safely stored.

        An existing instance gets the new schedule and arguments, whatever it is doing. If its schedule is the same, its
        next occurrence stays: repeated calls can't postpone it. If the schedule differs, the next occurrence is the
        first of the new schedule, whether sooner or later than the old one; an overdue recurring instance is still
        executed once before that. An execution under way continues with the arguments that it started with. A paused
        instance stays paused; a dead one starts afresh if its schedule changes.

        :param task: the template; if its function declares arguments, ``template.with_args(…)``.
        :param instance_name: the instance's name, unique under the template.
        :param force: the same as ``if_exists="replace"``.
        :param if_exists: what to do if the instance exists: ``"update"``, as described above; ``"keep"`` leaves it as
            it is; ``"replace"`` overwrites all of it, including next occurrence, pause, recent runs and lease, so that
            an execution under way loses its lease; ``"error"`` raises an exception.
        :param paused: pause the instance as well, as :meth:`pause_task` does.
        :param schedule: a cron expression. By default, the template's schedule of any of the three kinds applies.
        :param interval: the time between two occurrences; the first one is an interval from now.
        :param execute_at: the only occurrence. A naive one is local time.
        :param timezone: the timezone of ``schedule``; the template's by default.
        :param start_at: the earliest moment for an occurrence; an interval counts from it. It may be in the past.
        :param end_at: the latest moment, inclusive.
        :param max_runs: how many occurrences are executed, whatever their outcome.
        :param args: arguments with any name.
        :param transaction: a connection to the database of the storage on which a transaction of yours is open: of
            asyncpg, asyncmy or aiosqlite, or SQLAlchemy's ``AsyncConnection`` or ``AsyncSession`` on one of them. The
            instance is stored if and only if you commit; workers see it within a poll interval. Nothing is repeated
            if the storage fails.
        :param kwargs: further arguments of the task; the template supplies defaults.
        :return: the concrete instance. Its ``scheduling`` says what happened to it: see :class:`pyncette.Scheduling`.
        :raises PartitionCountException: the task is stored in another number of partitions than it declares.
        :raises TaskExistsException: the instance exists, and ``if_exists`` is ``"error"``.
        :raises StorageVersionException: a later version of Pyncette has stored the instance; it was left as it is.
        :raises ValueError: schedule, arguments or name are not valid, this app does not declare the task, or no
            transaction is open on the connection, or it is one of another database.
        :raises TypeError: a policy is given, or a keyword is misspelt; an argument that the function declares is
            missing or has the wrong type, or the function declares no such argument; ``transaction`` is something else.
        :raises RuntimeError: the caller is in a different thread or event loop than the app: see :meth:`from_thread`.
        :raises RepositoryException: the storage failed; whether the instance is stored is unknown.
        """
        template, args = unbound(task, args, kwargs)
        self._calls.check("schedule_task", template)
        check_flag("paused", paused)
        await self._partitions.check((template,), note=transaction is None)
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
        wanted = check_if_exists(if_exists, force=force)
        access = await self._access.within(transaction)
        concrete.scheduling = await Instances(access).schedule(concrete, wanted, paused=paused)
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
        transaction: object = None,
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
        transaction: object = None,
    ) -> BulkResult: ...

    async def schedule_tasks(
        self,
        task: Task,
        instances: Iterable[Any] | AsyncIterable[Any],
        force: bool = False,
        progress: Progress | None = None,
        *,
        if_exists: IfExists = "update",
        transaction: object = None,
    ) -> BulkResult:
        """Schedule many instances with few round trips, in batches of 1,000; each as with :meth:`schedule_task`.

        If an instance is refused, the others proceed. The call is not a transaction; it can be a part of
        one.

        :param task: the template.
        :param instances: pairs of instance name and keywords; if the template's function declares arguments, the name,
            ``template.with_args(…)``, and keywords if there are any. Consumed batch by batch.
        :param force: the same as ``if_exists="replace"``.
        :param progress: called after each batch with the number of instances processed so far.
        :param if_exists: what to do about existing instances, as in :meth:`schedule_task`.
        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        """
        self._calls.check("schedule_tasks", task)
        await self._partitions.check((task,), note=transaction is None)
        wanted = check_if_exists(if_exists, force=force)
        call = await self._bulk("schedule_tasks", task, transaction)
        return await schedule_many(call, instances, if_exists=wanted, progress=progress)

    async def import_tasks(
        self,
        task: Task,
        instances: Iterable[ImportedInstance] | AsyncIterable[ImportedInstance],
        progress: Progress | None = None,
    ) -> BulkResult:
        """Schedule many instances from another storage, each with the next occurrence that it had there.

        Instances that already exist stay as they are, so an interrupted call can be repeated.

        :param instances: triples of instance name, next occurrence (overdue ones are executed at once, a naive one is
            local time), and the keywords of :meth:`schedule_task`; consumed batch by batch.
        :param progress: called after each batch with the number of instances processed so far.
        """
        self._calls.check("import_tasks", task)
        await self._partitions.check((task,))
        return await import_many(await self._bulk("import_tasks", task), instances, progress=progress)

    async def unschedule_task(
        self, task: Task, instance_name: str | None = None, *, transaction: object = None
    ) -> None:
        """Remove an instance, whether or not it exists. An execution under way loses its lease.

        :param task: the template, with ``instance_name``; or a concrete instance.
        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        :raises RepositoryException: the storage failed; whether the instance is gone is unknown.
        """
        self._calls.check("unschedule_task", task)
        await Instances(await self._access.within(transaction)).unschedule(task, instance_name)

    async def unschedule_tasks(
        self,
        task: Task,
        instance_names: Iterable[str] | AsyncIterable[str],
        progress: Progress | None = None,
        *,
        transaction: object = None,
    ) -> BulkResult:
        """Remove many instances of a template with few round trips, in batches of 1,000.

        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        """
        self._calls.check("unschedule_tasks", task)
        call = await self._bulk("unschedule_tasks", task, transaction)
        return await unschedule_many(call, instance_names, progress=progress)

    async def get_task(self, task: Task, instance_name: str | None = None) -> TaskState | None:
        """What is stored for a static task, a concrete instance, or the named instance of a template.

        :return: None if it is not stored.
        :raises ValueError: the instance name is missing or superfluous.
        """
        self._calls.check("get_task", task)
        return await Instances(self._access).get(task, instance_name)
