"""Pausing and resuming, and retrying dead instances."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable

from pyncette._leases.control import ControlReading
from pyncette._leases.steering import Pause, Resume, Retry, Steer
from pyncette._tasks.task import Task
from pyncette._validation.checks import check_flag
from pyncette.observer import Observers
from pyncette.record import Band, Record

from .bulk import Bulk, BulkResult, Progress
from .extra import Triggering
from .instances import locate
from .listing import Listing
from .templates import Templates

LONGEST_REASON = 500
"""The maximum number of characters."""


class Holding(Triggering):
    """The part of an app context that pauses, resumes and retries."""

    _reading: ControlReading
    _observers: Observers
    _listing: Listing
    _templates: Templates

    async def pause_task(
        self, task: Task, instance_name: str | None = None, *, reason: str = "", transaction: object = None
    ) -> None:
        """Pause a template with all its instances, one instance, or a static task. Returns when it is stored.

        A template is paused in one write, however many instances it has. Once two poll intervals have passed, no
        execution of it starts on any worker, and nothing of it is claimed or queried. An execution under way finishes
        as usual, and the instance is paused then. A pause survives restarts, deploys and updates. Pausing again changes
        only the reason.

        :param task: the template, with the name of an instance to pause only that one; a concrete instance; or a static
            task.
        :param reason: for people; up to 500 characters.
        :param transaction: as in :meth:`schedule_task`, but not for a template: it would keep all other templates from
            being paused until you commit.
        :raises TaskNotFoundException: there is no such instance.
        :raises ValueError: the reason is too long, a static task has no instances, or a template can't be paused in a
            transaction.
        :raises RepositoryException: the storage failed; whether it is paused is unknown.
        """
        self._calls.check("pause_task", task)
        check_reason(reason)
        if task.dynamic and instance_name is None:
            check_no_transaction(task, transaction)
            await self._templates.pause(task.template, reason)
        else:
            await self._steer(Pause(*locate(task, instance_name), self._observers, reason), transaction)

    async def resume_task(
        self, task: Task, instance_name: str | None = None, *, catch_up: bool = False, transaction: object = None
    ) -> None:
        """End a pause; does nothing if there is none. Returns when it is stored.

        Resuming a template doesn't resume instances that are paused individually, and the other way round.

        :param task: as in :meth:`pause_task`.
        :param catch_up: whether occurrences that came due during the pause count as missed, so that they are executed
            as after an outage. Otherwise they are skipped, without any execution. One-off instances, and occurrences
            that have already been attempted, are executed in either case.
        :param transaction: as in :meth:`pause_task`.
        :raises TaskNotFoundException: there is no such instance.
        :raises ValueError: a static task has no instances, or a template can't be resumed in a transaction.
        :raises RepositoryException: the storage failed; whether it is resumed is unknown.
        """
        self._calls.check("resume_task", task)
        check_flag("catch_up", catch_up)
        if task.dynamic and instance_name is None:
            check_no_transaction(task, transaction)
            await self._templates.resume(task.template, catch_up=catch_up)
        else:
            await self._steer(Resume(*locate(task, instance_name), self._observers, catch_up=catch_up), transaction)

    async def retry_task(self, task: Task, instance_name: str | None = None, *, transaction: object = None) -> bool:
        """Give a dead instance fresh attempts, immediately. What came due while it was dead is skipped.

        :param task: as in :meth:`pause_task`, but not a template by itself.
        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        :return: whether it was dead.
        :raises TaskNotFoundException: there is no such instance.
        :raises RepositoryException: the storage failed; whether it is executed again is unknown.
        """
        self._calls.check("retry_task", task)
        write = Retry(*locate(task, instance_name), self._observers)
        await self._steer(write, transaction)
        return write.changed

    async def retry_dead(self, task: Task, progress: Progress | None = None) -> BulkResult:
        """Give all dead instances of a template fresh attempts, with few round trips, in batches of 1,000.

        :param progress: called after each batch with the number of instances processed so far.
        :raises ValueError: the task is not dynamic.
        """
        self._calls.check("retry_dead", task)
        found = self._listing.held(task, Band.DEAD, await self._reading.follow())

        def prepare(dead: tuple[Task, Record]) -> tuple[str, Retry]:
            parent, record = dead
            return parent.name_in(record.key), Retry(parent, record.ref, self._observers, record)

        return await Bulk(
            await self._bulk("retry_dead", task), prepare, lambda dead: dead[0].name_in(dead[1].key), progress
        ).run(found)

    async def pause_tasks(
        self,
        task: Task,
        instance_names: Iterable[str] | AsyncIterable[str],
        progress: Progress | None = None,
        *,
        reason: str = "",
        transaction: object = None,
    ) -> BulkResult:
        """Pause many instances of a template, each as with :meth:`pause_task`, with few round trips.

        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        """
        self._calls.check("pause_tasks", task)
        check_reason(reason)

        def prepare(name: str) -> tuple[str, Pause]:
            return name, Pause(*locate(task, name), self._observers, reason)

        call = await self._bulk("pause_tasks", task, transaction)
        return await Bulk(call, prepare, str, progress).run(instance_names)

    async def resume_tasks(
        self,
        task: Task,
        instance_names: Iterable[str] | AsyncIterable[str],
        progress: Progress | None = None,
        *,
        catch_up: bool = False,
        transaction: object = None,
    ) -> BulkResult:
        """Resume many instances of a template, each as with :meth:`resume_task`, with few round trips.

        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        """
        self._calls.check("resume_tasks", task)
        check_flag("catch_up", catch_up)

        def prepare(name: str) -> tuple[str, Resume]:
            return name, Resume(*locate(task, name), self._observers, catch_up=catch_up)

        call = await self._bulk("resume_tasks", task, transaction)
        return await Bulk(call, prepare, str, progress).run(instance_names)

    async def _steer(self, write: Steer, transaction: object) -> None:
        access = await self._access.within(transaction)
        await access.writer.store(write)


def check_no_transaction(template: Task, transaction: object) -> None:
    """:raises ValueError: a transaction was passed."""
    if transaction is not None:
        raise ValueError(
            f"The template {template.name!r} is paused and resumed for all workers at once, never in a transaction: "
            "leave transaction out, or name an instance."
        )


def check_reason(reason: object) -> str:
    """:raises TypeError, ValueError: it is not a string, or too long."""
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a string, not {type(reason).__name__}.")
    if len(reason) > LONGEST_REASON:
        raise ValueError(f"reason has {len(reason):,} characters; write at most {LONGEST_REASON}.")
    return reason
