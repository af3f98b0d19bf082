"""What operators do while the app runs, in this process or elsewhere."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from pyncette._leases.access import Access
from pyncette._leases.actions import Actions
from pyncette._leases.control import ControlReading
from pyncette._leases.store import Store
from pyncette._leases.workers import Registry
from pyncette._leases.writer import Writer
from pyncette._schedules.moments import moment_of
from pyncette._tasks.names import Kind
from pyncette._tasks.task import Task
from pyncette._tasks.worker import Worker
from pyncette._validation.checks import check_count, check_sought
from pyncette.clock import Clock
from pyncette.events import RunOutcome
from pyncette.findings import Finding
from pyncette.observer import Observers
from pyncette.record import HELD, LEAST, Count, RunQuestion

from .actions import ActionsPage, check_note, place_of_action
from .bulk import Progress
from .calls import CallCheck
from .holding import Holding
from .instances import locate
from .inventory import Inventory, StoredTask
from .listing import HeldState, Listing, ListTasksResponse, queues_of, window
from .runlog import RunsPage, check_outcomes, page, place_of
from .templates import Templates


class Steering(Holding):
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
        self._access = Access(store, writer, clock, reading, observers)
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

        Without a filter, or with a prefix, the order is stable: instances that exist the whole time are listed exactly
        once, even if they move in time between pages. With a state or a time, they come in the order of that time, and
        no others are read.

        :param limit: the maximum size of the page; ``batch_size`` by default.
        :param continuation_token: from the previous page, with the same filters.
        :param state: only those that are dead, paused (individually), completed or unreadable, longest in that state
            first.
        :param prefix: only those whose name starts with it; can't be combined with ``state`` or ``due_before``.
        :param due_before: only those whose next attempt may start, or whose lease expires, before this moment, earliest
            first. A naive datetime is local time.
        :raises ValueError: the task is not dynamic, or an argument is not valid.
        """
        self._calls.check("list_tasks", task)
        check_sought("prefix", prefix)
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
        """How many instances a dynamic task has, or how many of them are in a state.

        :return: the number, and whether it is exact: beyond 10,000, a storage may return an estimate or a lower bound.
        :raises ValueError: the task is not dynamic, or the state can't be counted by itself.
        """
        self._calls.check("count_tasks", task)
        moments = window(state, None)
        return await self._listing.count(queues_of(task), await self._reading.follow(), *(moments or ()))

    async def tasks(self) -> list[StoredTask]:
        """All tasks that are stored or declared by this app, sorted by name.

        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("tasks")
        return await self._inventory.tasks()

    async def find_task(self, name: str, kind: Kind | None = None) -> Task:
        """A task by its name, for programs that list and control tasks of other apps without their code.

        Its instances can be scheduled, listed and controlled; this program never executes it. The workers' policies
        apply, which this program doesn't know. So what it skips is added to all the recent runs that there are, until
        the next run reduces them to ``keep_runs``. It also can't honour two policies: a one-off of an at-least-once
        task whose scheduling the storage did not confirm is not stored again if it is gone, and an instance that is
        resumed after its last occurrence has passed is removed, whatever ``retain`` is.

        :param kind: static, dynamic or partitioned, if tasks of several kinds have that name. By default, the one that
            this app declares, or else the one that live workers execute.
        :raises LookupError: it is not stored, or the name is ambiguous; the message says what is stored.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("find_task")
        task = await self._inventory.find(name, kind)
        self._calls.admit(task)
        return task

    def task_of(self, stored: StoredTask) -> Task:
        """The task of an entry of :meth:`tasks`, as :meth:`find_task` returns it, without another query."""
        self._calls.check_loop("task_of")
        task = self._inventory.task_of(stored)
        self._calls.admit(task)
        return task

    async def orphans(self) -> list[StoredTask]:
        """Tasks that are stored, but that no live worker executes and this app doesn't declare. What is left over from
        a task that changed its kind is among them, with its former kind.

        They are kept: an app that declares such a task again finds all its instances. Workers with
        ``register_worker=False`` are not taken into account.

        :raises OrphansUnknownException: a worker has not yet stored which tasks it executes.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("orphans")
        return await self._inventory.orphans()

    async def purge(self, name: str, progress: Progress | None = None, *, kind: Kind | None = None) -> int:
        """Remove everything that is stored for an orphan, in batches of 1,000, including the template's pause and
        partition count. This can't be undone.

        :param name: the name of one of :meth:`orphans`.
        :param progress: called after each batch with the number of records removed so far.
        :param kind: the kind of the orphan, if several have that name; by default all of them are removed.
        :return: how many records were removed.
        :raises ValueError: it is not an orphan.
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

        :param task: only runs of this task; with ``instance_name``, of one of its instances.
        :param outcomes: only runs with one of these outcomes.
        :param since: only runs that ended at this moment or later. A naive datetime is local time.
        :param before: only runs that ended before this moment.
        :param containing: only runs whose reason, error or worker contains this text.
        :param limit: the maximum size of the page; ``batch_size`` by default.
        :param continuation_token: from the previous page, with the same filters.
        :raises ValueError: an argument is not valid.
        :raises UnsupportedException: the storage keeps no log.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("runs")
        if task is None and instance_name is not None:
            raise ValueError(f"instance_name is {instance_name!r}, but of no task: pass the task as well.")
        if containing is not None:
            check_sought("containing", containing)
        key = None if task is None or instance_name is None else locate(task, instance_name)[1].key
        question = RunQuestion(
            queues=None if task is None else [parent.queue.name for parent in task.queues],
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
        """The processes that execute tasks, least recently seen first.

        A worker reports every 15 seconds, and removes its entry when it stops. A worker that was killed is listed for a
        minute. Workers with ``register_worker=False`` are never listed.

        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("workers")
        return await self._registry.alive()

    async def note_action(
        self, who: str, what: str, *, task: str | None = None, instance: str | None = None, detail: str = ""
    ) -> None:
        """Record what an operator did, for :meth:`actions`: who, what and when, in the storage, for 90 days. For
        programs that control tasks, such as the dashboard; nothing else records actions. Returns when it is stored.

        :param who: the operator.
        :param what: a single word, such as ``"pause"``.
        :param task: the name of the task concerned.
        :param instance: the name of the instance.
        :param detail: further details. The first 1,000 characters of each text are kept.
        :raises TypeError: one of them is not a string.
        :raises RepositoryException: the storage failed; whether the action is recorded is unknown.
        """
        self._calls.check_loop("note_action")
        await self._actions.note(**check_note(who=who, what=what, task=task, instance=instance, detail=detail))

    async def actions(self, limit: int | None = None, continuation_token: str | None = None) -> ActionsPage:
        """A page of what operators did, as :meth:`note_action` has recorded it, newest first.

        :param limit: the maximum size of the page; ``batch_size`` by default.
        :param continuation_token: from the previous page.
        :raises ValueError: an argument is not valid.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("actions")
        size = self._batch_size if limit is None else check_count("limit", limit)
        return ActionsPage(*await self._actions.latest(size, place_of_action(continuation_token)))

    async def diagnose(self) -> list[Finding]:
        """The findings of the storage's self-check against the requirements in its documentation, such as persistence,
        permissions, indexes, and what keeps it from cleaning up. Changes nothing; may take seconds.

        :return: findings, including those that are fine; none if the storage has no checks.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check_loop("diagnose")
        return await self._store.diagnose()
