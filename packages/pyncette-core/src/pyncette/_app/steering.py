"""What operators do while the app runs, here or elsewhere."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterable, Iterable, Sequence

from pyncette._leases.actions import Actions
from pyncette._leases.control import ControlReading
from pyncette._leases.steering import Pause, Resume, Retry, Steer
from pyncette._leases.store import Store
from pyncette._leases.workers import Registry
from pyncette._leases.writer import Writer
from pyncette._schedules.moments import moment_of
from pyncette._tasks.names import Kind
from pyncette._tasks.task import Task
from pyncette._tasks.worker import Worker
from pyncette._validation.checks import check_count
from pyncette.clock import Clock
from pyncette.events import RunOutcome
from pyncette.findings import Finding
from pyncette.observer import Observers
from pyncette.record import HELD, LEAST, Band, Count, Record, RunQuestion

from .actions import ActionsPage, check_note, place_of_action
from .bulk import Bulk, BulkResult, Progress
from .calls import CallCheck
from .extra import ExtraRuns, OnDemand
from .instances import locate
from .inventory import Inventory, StoredTask
from .listing import HeldState, Listing, ListTasksResponse, queues_of, window
from .runlog import RunsPage, check_outcomes, page, place_of
from .templates import Templates

LONGEST_REASON = 500
"""Characters."""


class Steering(OnDemand):
    """The part of an app context that needs no task functions: it works without :meth:`PyncetteContext.run`."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        clock: Clock,
        reading: ControlReading,
        worker_name: str,
        tasks: Sequence[Task],
        observers: Observers,
        batch_size: int,
    ) -> None:
        self._calls = CallCheck(tasks)
        self._reading = reading
        self._store = store
        self._writer = writer
        self._observers = observers
        self._batch_size = batch_size
        self._extra_runs = ExtraRuns(store, writer, clock, reading, observers)
        self._listing = Listing(store, clock)
        self._templates = Templates(self._listing, writer, reading)
        self._registry = Registry(store, writer, clock, worker_name)
        self._actions = Actions(store, writer, clock)
        self._inventory = Inventory(store, writer, reading, self._registry, tasks)

    async def list_tasks(
        self,
        task: Task,
        limit: int | None = None,
        continuation_token: str | None = None,
        *,
        state: HeldState | None = None,
        prefix: str = "",
        due_before: datetime.datetime | None = None,
    ) -> ListTasksResponse:
        """A page of the instances of a dynamic task.

        Without a filter, or by prefix, in a stable order: instances that exist all the while are listed exactly once,
        also if they move in time meanwhile. By state or time, in the order of that time, without reading the others.

        :param limit: the size of the page at most; ``batch_size`` by default.
        :param continuation_token: from the page before, with the same filters.
        :param state: only those that are dead, paused (each by itself), completed or unreadable, the longest so first.
        :param prefix: only those whose name begins with it; excludes ``state`` and ``due_before``.
        :param due_before: only those whose next attempt may begin, or whose lease ends, before this moment, the
            earliest first. A naive one is local time.
        :raises ValueError: the task is not dynamic, or an argument is not valid.
        """
        self._calls.check("list_tasks", task)
        size = self._batch_size if limit is None else check_count("limit", limit)
        moments = window(state, None if due_before is None else moment_of("due_before", due_before))
        if moments and prefix:
            raise ValueError("prefix excludes state and due_before: pass one of them.")
        control = await self._reading.follow()
        if moments is None:
            return await self._listing.by_key(task, control, prefix=prefix, limit=size, token=continuation_token)
        since, before = moments
        return await self._listing.by_time(
            task, control, since=since, before=before, limit=size, token=continuation_token
        )

    async def count_tasks(self, task: Task, *, state: HeldState | None = None) -> Count:
        """How many instances of a dynamic task there are, or how many of them are in a state.

        :return: the number, and whether it is exact: beyond 10,000 a storage may answer with an estimate or a lower
            bound instead.
        :raises ValueError: the task is not dynamic, or the state can't be counted by itself.
        """
        self._calls.check("count_tasks", task)
        moments = window(state, None)
        return await self._listing.count(queues_of(task), await self._reading.follow(), *(moments or ()))

    async def tasks(self) -> list[StoredTask]:
        """All tasks of which something is stored, and those that this app declares, in the order of their names.

        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("tasks")
        return await self._inventory.tasks()

    async def find_task(self, name: str, kind: Kind | None = None) -> Task:
        """A task by its name, for programs that list and steer tasks of other apps without their code.

        Its instances can be scheduled, listed and steered; this program never executes it. It does not know the task's
        policies: those of the workers apply. So what it skips is kept with all the recent runs that there are, until
        the next run leaves ``keep_runs`` of them; and of two policies it can't do anything: a one-off of an
        at-least-once task whose scheduling the storage did not confirm is not stored again if it is gone, and an
        instance that is resumed after its last occurrence has passed is removed, whatever ``retain`` says.

        :param kind: static, dynamic or partitioned, where tasks of several kinds have that name. By default the one
            that this app declares, or else the one that live workers execute.
        :raises LookupError: nothing of it is stored, or several are meant; the message says what is.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("find_task")
        task = await self._inventory.find(name, kind)
        self._calls.admit(task)
        return task

    def task_of(self, stored: StoredTask) -> Task:
        """The task of an entry of :meth:`tasks`, as :meth:`find_task` gives it, without asking the storage again."""
        self._calls.check_loop("task_of")
        task = self._inventory.task_of(stored)
        self._calls.admit(task)
        return task

    async def orphans(self) -> list[StoredTask]:
        """Tasks of which something is stored, but that no live worker executes and this app does not declare. What is
        left over of a task that became static, dynamic or partitioned is among them, with the kind that it had.

        They are kept: an app that declares such a task again finds all its instances. Workers with
        ``register_worker=False`` are not known of.

        :raises RepositoryException: the storage failed, or a worker has not stored yet what it executes.
        """
        self._calls.check_loop("orphans")
        return await self._inventory.orphans()

    async def purge(self, name: str, progress: Progress | None = None, *, kind: Kind | None = None) -> int:
        """Remove all that is stored of an orphan, in batches of 1,000, and what was said of it as a template (that it
        is paused, its partition count). It can't be undone.

        :param name: of one of :meth:`orphans`.
        :param progress: called after each batch with the number of records removed so far.
        :param kind: of the orphan, where several have that name; by default all of them are removed.
        :return: how many records were removed.
        :raises ValueError: it is no orphan.
        :raises RepositoryException: the storage failed; a part may have been removed.
        """
        self._calls.check_loop("purge")
        return await self._inventory.purge(name, kind, progress)

    async def runs(
        self,
        task: Task | None = None,
        instance_name: str | None = None,
        *,
        outcomes: Iterable[RunOutcome] | None = None,
        since: datetime.datetime | None = None,
        before: datetime.datetime | None = None,
        containing: str | None = None,
        limit: int | None = None,
        continuation_token: str | None = None,
    ) -> RunsPage:
        """A page of the log of runs, which ``history=…`` turns on, newest first.

        :param task: of this task alone; with ``instance_name`` of one of its instances.
        :param outcomes: with one of these outcomes.
        :param since: that ended at this moment or later. A naive one is local time.
        :param before: that ended before this moment.
        :param containing: whose reason, error or worker contains this text.
        :param limit: the size of the page at most; ``batch_size`` by default.
        :param continuation_token: from the page before, with the same question.
        :raises ValueError: an argument is not valid.
        :raises RepositoryException: the storage keeps no log, or failed.
        """
        self._calls.check_loop("runs")
        key = None if task is None or instance_name is None else locate(task, instance_name)[1].key
        question = RunQuestion(
            queues=None if task is None else [home.queue.name for home in task.queues],
            key=key,
            outcomes=check_outcomes(outcomes),
            since=LEAST if since is None else moment_of("since", since),
            before=HELD if before is None else moment_of("before", before),
            containing=containing,
            after=place_of(continuation_token),
            limit=self._batch_size if limit is None else check_count("limit", limit),
        )
        return await page(self._store, question)

    async def workers(self) -> list[Worker]:
        """The processes that execute tasks, those that wrote longest ago first.

        A worker writes what it does every 15 seconds, and removes it when it ends. One that was killed is listed for
        a minute. Those with ``register_worker=False`` are never listed.

        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("workers")
        return await self._registry.alive()

    async def note_action(
        self, who: str, what: str, *, task: str | None = None, instance: str | None = None, detail: str = ""
    ) -> None:
        """Note what an operator did, for :meth:`actions`: who, what and when, within the storage, for 90 days. For
        programs that steer, such as the dashboard; nothing else notes anything. Returns when it is stored.

        :param who: the operator.
        :param what: in a word, such as ``"pause"``.
        :param task: the name of the task that it was done to.
        :param instance: the name of the instance.
        :param detail: what else there is to say. Of each text, the first 1,000 characters are kept.
        :raises TypeError: one of them is no string.
        :raises RepositoryException: the storage failed; whether it is noted is unknown.
        """
        self._calls.check_loop("note_action")
        await self._actions.note(**check_note(who=who, what=what, task=task, instance=instance, detail=detail))

    async def actions(self, limit: int | None = None, continuation_token: str | None = None) -> ActionsPage:
        """A page of what operators did, as :meth:`note_action` has noted it, newest first.

        :param limit: the size of the page at most; ``batch_size`` by default.
        :param continuation_token: from the page before.
        :raises ValueError: an argument is not valid.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("actions")
        size = self._batch_size if limit is None else check_count("limit", limit)
        return ActionsPage(*await self._actions.latest(size, place_of_action(continuation_token)))

    async def diagnose(self) -> list[Finding]:
        """What the storage finds when it checks what its page of the documentation asks for, such as its persistence,
        permissions, indexes, and what keeps it from tidying up. Changes nothing; may take seconds.

        :return: what is as it should be too; nothing, if the storage has no checks.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("diagnose")
        return await self._store.diagnose()

    async def pause_task(self, task: Task, instance_name: str | None = None, *, reason: str = "") -> None:
        """Pause a template with all its instances, one instance, or a static task. Returns when it is stored.

        A template is paused in one write, whatever the number of instances: no execution of it begins once two poll
        intervals have passed, on any worker, and nothing of it is claimed or asked for. An instance that is being
        executed ends as usual, and is paused then. A pause outlives restarts, deploys and updates. Pausing again
        changes the reason, and nothing else.

        :param task: the template, with the name of an instance to pause that alone; a concrete instance; a static task.
        :param reason: for people; 500 characters at most.
        :raises TaskNotFoundException: there is no such instance.
        :raises ValueError: the reason is too long, or a static task has no instances.
        :raises RepositoryException: the storage failed; whether it is paused is unknown.
        """
        self._calls.check("pause_task", task)
        check_reason(reason)
        if task.dynamic and instance_name is None:
            await self._templates.pause(task.template, reason)
        else:
            await self._steer(Pause(*locate(task, instance_name), self._observers, reason))

    async def resume_task(self, task: Task, instance_name: str | None = None, *, catch_up: bool = False) -> None:
        """Let what was paused go on; does nothing if it isn't paused. Returns when it is stored.

        Resuming a template leaves instances alone that are paused by themselves, and the other way round.

        :param task: as in :meth:`pause_task`.
        :param catch_up: whether occurrences that came due during the pause count as missed, so that they are executed
            as after an outage. Otherwise they are skipped, without any execution. One-off instances and occurrences
            of which an attempt had begun are executed in either case.
        :raises TaskNotFoundException: there is no such instance.
        :raises ValueError: a static task has no instances.
        :raises RepositoryException: the storage failed; whether it is resumed is unknown.
        """
        self._calls.check("resume_task", task)
        if task.dynamic and instance_name is None:
            await self._templates.resume(task.template, catch_up=catch_up)
        else:
            await self._steer(Resume(*locate(task, instance_name), self._observers, catch_up=catch_up))

    async def retry_task(self, task: Task, instance_name: str | None = None) -> bool:
        """Give a dead instance fresh attempts, at once. What came due while it was dead is skipped.

        :param task: as in :meth:`pause_task`, but no template alone.
        :return: whether it was dead.
        :raises TaskNotFoundException: there is no such instance.
        :raises RepositoryException: the storage failed; whether it is executed again is unknown.
        """
        self._calls.check("retry_task", task)
        write = Retry(*locate(task, instance_name), self._observers)
        await self._steer(write)
        return write.changed

    async def retry_dead(self, task: Task, progress: Progress | None = None) -> BulkResult:
        """Give all instances of a template that are dead fresh attempts, with few round trips, in batches of 1,000.

        :param progress: called after each batch with the number of instances dealt with so far.
        :raises ValueError: the task is not dynamic.
        """
        self._calls.check("retry_dead", task)
        found = self._listing.held(task, Band.DEAD, await self._reading.follow())

        def prepare(dead: tuple[Task, Record]) -> tuple[str, Retry]:
            home, record = dead
            return home.name_in(record.key), Retry(home, record.ref, self._observers, record)

        return await Bulk(
            self._bulk("retry_dead", task), prepare, lambda dead: dead[0].name_in(dead[1].key), progress
        ).run(found)

    async def pause_tasks(
        self,
        task: Task,
        instance_names: Iterable[str] | AsyncIterable[str],
        progress: Progress | None = None,
        *,
        reason: str = "",
    ) -> BulkResult:
        """Pause many instances of a template, each as by :meth:`pause_task`, with few round trips."""
        self._calls.check("pause_tasks", task)
        check_reason(reason)

        def prepare(name: str) -> tuple[str, Pause]:
            return name, Pause(*locate(task, name), self._observers, reason)

        return await Bulk(self._bulk("pause_tasks", task), prepare, str, progress).run(instance_names)

    async def resume_tasks(
        self,
        task: Task,
        instance_names: Iterable[str] | AsyncIterable[str],
        progress: Progress | None = None,
        *,
        catch_up: bool = False,
    ) -> BulkResult:
        """Resume many instances of a template, each as by :meth:`resume_task`, with few round trips."""
        self._calls.check("resume_tasks", task)

        def prepare(name: str) -> tuple[str, Resume]:
            return name, Resume(*locate(task, name), self._observers, catch_up=catch_up)

        return await Bulk(self._bulk("resume_tasks", task), prepare, str, progress).run(instance_names)

    async def _steer(self, write: Steer) -> None:
        self._writer.submit(write)
        await write.wait()


def check_reason(reason: object) -> str:
    """:raises TypeError, ValueError: it is no text, or too long to be stored."""
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a string, not {type(reason).__name__}.")
    if len(reason) > LONGEST_REASON:
        raise ValueError(f"reason has {len(reason):,} characters; write at most {LONGEST_REASON}.")
    return reason
