"""Manual runs and backfills, as operators request them."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.lowlevel

from pyncette._leases.access import Access
from pyncette._leases.control import ChangeControl
from pyncette._leases.existing import readable
from pyncette._leases.requested import AddBackfill, DropBackfill, RequestRun
from pyncette._leases.revisions import new_revision
from pyncette._lifecycle.backfill import moments, schedule_text
from pyncette._schedules.moments import LATEST, moment_of, to_datetime
from pyncette._tasks.bound import BoundTask
from pyncette._tasks.control import Control, RequestedRun
from pyncette._tasks.extra import Backfill, ExtraRun, extra_of
from pyncette._tasks.names import name_of
from pyncette._tasks.spec import Spec, decode_args, encode_args
from pyncette._tasks.state import State
from pyncette._tasks.task import Task, check_task
from pyncette._validation.checks import check_flag
from pyncette.errors import PyncetteException, TooManyRunsException
from pyncette.record import Record, Ref
from pyncette.schedule import Once

from .bulk import Bulk, BulkCall, BulkResult, Progress
from .calls import CallCheck
from .instances import locate, unbound
from .recomputing import recompute

LARGE_BACKFILL = 100_000
"""The number of moments above which a backfill has to be confirmed."""

LONGEST_ID = 200
"""Characters."""

MOMENTS_AT_ONCE = 100
"""How many moments are computed before yielding to the event loop."""


RunArgs = Mapping[str, Any] | BoundTask
"""A run's own arguments: some of them, or the task bound to all of them."""

Triggered = str | tuple[str, RunArgs]
"""The name of an instance, or the name and the run's own arguments."""

ManyTriggered = Iterable[Triggered] | AsyncIterable[Triggered] | Mapping[str, Mapping[str, Any]] | Mapping[str, RunArgs]


@dataclass(frozen=True, slots=True)
class BackfillState:
    """Past moments that are executed one after another.

    :ivar id: the value of :attr:`Context.run_id` in each of its runs.
    :ivar next_at: the next moment, or the one being executed, in the schedule's timezone. None if there is none.
    :ivar last_at: the last moment.
    :ivar total: how many moments there are.
    :ivar done: how many of them are done.
    :ivar exact: False if there are more than ``total``.
    """

    id: str
    next_at: datetime.datetime | None
    last_at: datetime.datetime | None
    total: int
    done: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A requested backfill. Moments are microseconds."""

    start: int
    end: int
    id: str | None
    dry_run: bool
    confirm: bool


class ExtraRuns:
    """The operations of one call."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def trigger(self, task: Task, name: str | None, args: Mapping[str, Any]) -> str:
        """Returns the id of the run."""
        write = self.request(task, name, args)
        await self._access.writer.store(write)
        for error in (await self.notify_workers(task, [write])).values():
            raise error
        return write.run.id

    def request(self, task: Task, name: str | None, args: Mapping[str, Any]) -> RequestRun:
        """The write that requests a run. Call :meth:`notify_workers` once it is stored."""
        _, ref = locate(task, name)
        own, carried = decode_args(encode_args(task.encoded_args({}, args))), self._access.observers.carried()
        return RequestRun(task, ref, ExtraRun(new_revision(), self._access.clock.now(), own, carried=carried))

    async def notify_workers(self, task: Task, requested: Sequence[RequestRun]) -> Mapping[RequestRun, Exception]:
        """Make stored runs known to workers if their template is paused, and to lists if their instances are held.

        :return: those that have to wait until the template is resumed, because there are too many.
        """
        template, stored = task.template.queue.name, await self._access.reading.reread()
        refused: dict[RequestRun, Exception] = {}

        def change(control: Control, _: int) -> Control:
            refused.clear()
            for write in requested:
                try:
                    requested_run = RequestedRun(write.ref.queue, write.ref.key, write.run.id)
                    control = control.request(template, requested_run, held=write.held)
                except TooManyRunsException as e:
                    refused[write] = e
            return control

        if template in stored.paused or any(write.held for write in requested):
            await self._access.writer.store(ChangeControl(change, self._access.reading))
        return refused

    async def trigger_many(
        self,
        call: BulkCall,
        instances: ManyTriggered,
        args: Mapping[str, Any],
        progress: Progress | None,
    ) -> BulkResult:
        check_task(call.task)
        items: Iterable[Triggered] | AsyncIterable[Triggered]
        items = instances.items() if isinstance(instances, Mapping) else instances
        return await BulkTriggers(self, call, args, progress).run(items)

    async def backfill(self, task: Task, name: str | None, plan: Plan) -> BackfillState:
        """Request a backfill, or only describe what it would be."""
        _, ref = locate(task, name)
        record, spec = await self._read(ref)
        if isinstance(spec.schedule, Once):
            raise ValueError(f"{name_of(ref.key)!r} has a single occurrence: run it by trigger_task().")
        first = last = None
        total = 0
        for moment in moments(record, spec, plan.start, plan.end):
            first, last, total = moment if first is None else first, moment, total + 1
            if total % MOMENTS_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()
            if total > LARGE_BACKFILL:
                break
        if total > LARGE_BACKFILL and not plan.dry_run:
            if not plan.confirm:
                raise ValueError(
                    f"The range has more than {LARGE_BACKFILL:,} moments: choose a smaller range, or pass confirm=True."
                )
            last = min(plan.end, record.due_at - 1)
        name, carried = plan.id or new_revision(), self._access.observers.carried()
        fill = Backfill(name, first or 0, last or 0, total, 0, schedule_text(spec), carried)
        if total and not plan.dry_run:
            write = AddBackfill(ref, fill)
            await self._access.writer.store(write)
        return _described(fill, spec.schedule.tz)

    async def recompute(self, task: Task, progress: Progress | None, *, dry_run: bool) -> int:
        """Returns how many were moved, or would have been."""
        return await recompute(self._access, task, progress, dry_run=dry_run)

    async def backfills(self, task: Task, name: str | None) -> list[BackfillState]:
        _, ref = locate(task, name)
        record, spec = await self._read(ref)
        return [_described(fill, spec.schedule.tz) for fill in extra_of(State(record.state)).fills]

    async def cancel(self, task: Task, name: str | None, backfill_id: str) -> bool:
        """Returns whether there was such a backfill."""
        write = DropBackfill(locate(task, name)[1], backfill_id)
        await self._access.writer.store(write)
        return write.changed

    async def _read(self, ref: Ref) -> tuple[Record, Spec]:
        (record,) = await self._access.store.read((ref,))
        return readable(record, ref)


class BulkTriggers(Bulk[Triggered, RequestRun]):
    """Requests many manual runs."""

    def __init__(self, runs: ExtraRuns, call: BulkCall, args: Mapping[str, Any], progress: Progress | None) -> None:
        super().__init__(call, self._request, lambda item: item if isinstance(item, str) else item[0], progress)
        self._runs = runs
        self._task = call.task
        self._args = args

    def _request(self, item: Triggered) -> tuple[str, RequestRun]:
        match item:
            case str() as name:
                args = self._args
            case (str() as name, Mapping() | BoundTask() as args):
                pass
            case _:
                raise TypeError(f"Pass an instance name, or a pair ('name', {{…}}) of it and arguments, not {item!r}.")
        own = args.args_for(self._task) if isinstance(args, BoundTask) else args
        return name, self._runs.request(self._task, name, own)

    async def follow_up(self, stored: Sequence[tuple[str, RequestRun]]) -> Mapping[RequestRun, Exception]:
        writes = [write for _, write in stored]
        try:
            refused = await self._runs.notify_workers(self._task, writes)
        except PyncetteException as e:  # it is unknown whether workers will find them
            return dict.fromkeys(writes, e)
        self._result.runs += [(name, write.run.id) for name, write in stored if write not in refused]
        return refused


def check_id(backfill_id: object) -> None:
    """:raises TypeError, ValueError: it is not a string, or can't be stored with each of the backfill's runs."""
    if not isinstance(backfill_id, str):
        raise TypeError(f"backfill_id must be a string, not {type(backfill_id).__name__}.")
    if not 0 < len(backfill_id) <= LONGEST_ID:
        raise ValueError(f"backfill_id has {len(backfill_id):,} characters; write 1 to {LONGEST_ID}.")


def _described(fill: Backfill, tz: datetime.tzinfo) -> BackfillState:
    at = None if not fill.total else to_datetime(fill.next_at, tz)
    last = None if not fill.total else to_datetime(min(fill.last, LATEST), tz)
    return BackfillState(fill.id, at, last, fill.total, fill.done, exact=fill.total <= LARGE_BACKFILL)


class Triggering:
    """The part of an app context that requests manual runs and backfills."""

    _calls: CallCheck
    _access: Access

    async def _bulk(self, name: str, task: Task, transaction: object = None) -> BulkCall:
        access = await self._access.within(transaction)
        return BulkCall(name, task, access)

    async def recompute(self, task: Task, progress: Progress | None = None, *, dry_run: bool = False) -> int:
        """Move each next occurrence that is no longer on its schedule, because the rules of a timezone have changed, to
        the nearest one that is. Call this after an update of tzdata.

        An occurrence is moved only once, so that programs with different rules don't push it back and forth. It stays
        if its schedule was stored after it, or if it is under way or has already been attempted. Reads all instances,
        in pages of 1,000.

        :param task: a static task, an instance, or a template with all its instances.
        :param progress: called after each page with the number of instances checked so far.
        :param dry_run: move nothing.
        :return: how many were moved, or would have been.
        :raises RepositoryException: the storage failed; a part may have been moved.
        """
        self._calls.check("recompute", task)
        check_flag("dry_run", dry_run)
        return await ExtraRuns(self._access).recompute(task, progress, dry_run=dry_run)

    async def trigger_task(
        self,
        task: Task | BoundTask,
        instance_name: str | None = None,
        args: Mapping[str, Any] | None = None,
        *,
        transaction: object = None,
    ) -> str:
        """Execute a static task or an instance once, in addition to its schedule, which doesn't change. Returns when
        the run is safely stored. It starts within a poll interval, or when the current execution has ended.

        An instance that is paused, dead or completed is executed too, and keeps its state; in a paused template, the
        run starts within two poll intervals. The run follows ``retry`` and ``timeout``. If it fails, the instance
        becomes neither dead nor paused. Each call is one run, even if the storage's reply is lost. The scheduled
        occurrence, its attempts and the moment of its retry wait until the run has ended.

        :param task: the static task; a concrete instance; or the template, with ``instance_name``. With
            ``task.with_args(…)``, you give this run its own arguments.
        :param args: arguments of this run only; they override those of the instance.
        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`. A run of a
            paused template, or of an instance that is held, changes a record that all triggers of such runs and all
            pauses of templates share: they wait until you have committed.
        :return: the run's id, which :attr:`Context.run_id` will hold.
        :raises TaskNotFoundException: there is no such instance.
        :raises TooManyRunsException: 10 runs of the instance are already waiting; or its template is paused, and 100
            runs of paused templates are waiting.
        :raises TypeError: the function declares no such argument, or a different type.
        :raises ValueError: the arguments are not JSON, a name is missing or there is one too many.
        :raises RepositoryException: what is stored is damaged; or the storage failed, and whether there will be a run
            is unknown.
        """
        called, args = unbound(task, args, {})
        self._calls.check("trigger_task", called)
        runs = ExtraRuns(await self._access.within(transaction))
        return await runs.trigger(called, instance_name, {} if args is None else args)

    async def trigger_tasks(
        self,
        task: Task,
        instances: ManyTriggered,
        progress: Progress | None = None,
        *,
        args: Mapping[str, Any] | None = None,
        transaction: object = None,
    ) -> BulkResult:
        """Execute many instances of a template once each, as with :meth:`trigger_task`, with few round trips, in
        batches of 1,000.

        If an instance is refused, the others proceed. A name that appears twice means two runs.

        :param instances: names, or pairs of a name and the arguments of that run, as a dictionary or as
            ``task.with_args(…)`` (or a mapping of these); consumed batch by batch.
        :param progress: called after each batch with the number of instances processed so far.
        :param args: arguments for runs that have none of their own.
        :param transaction: makes it a part of your own transaction: see :meth:`trigger_task`.
        """
        self._calls.check("trigger_tasks", task)
        call = await self._bulk("trigger_tasks", task, transaction)
        return await ExtraRuns(call.access).trigger_many(call, instances, {} if args is None else args, progress)

    async def backfill_task(
        self,
        task: Task,
        instance_name: str | None,
        start: datetime.datetime,
        end: datetime.datetime,
        *,
        backfill_id: str | None = None,
        dry_run: bool = False,
        confirm: bool = False,
        transaction: object = None,
    ) -> BackfillState:
        """Execute the moments that a schedule has in a past range, oldest first, one after another. Returns when the
        backfill is safely stored.

        Only moments before the next occurrence count, by the current schedule; for an interval, multiples of it before
        the next occurrence. Regular occurrences and manual runs come first; a paused or dead instance waits. Each run
        follows ``retry`` and ``timeout``; the backfill continues whatever its outcome.

        :param task: the static task; a concrete instance; or the template, with ``instance_name``.
        :param start: the first moment. A naive one is local time.
        :param end: the latest moment, inclusive.
        :param backfill_id: a name for the backfill, of up to 200 characters; random by default. A second backfill with
            the same name is ignored until 30 days after the first one has ended.
        :param dry_run: change nothing, and return what would be done.
        :param confirm: allow more than 100,000 moments.
        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        :raises TaskNotFoundException: there is no such instance.
        :raises TooManyRunsException: 10 backfills of the instance are already waiting.
        :raises ValueError: the instance has a single occurrence, ``start`` is later than ``end``, there are too many
            moments, or ``backfill_id`` is empty or too long.
        :raises RepositoryException: the storage failed; whether there will be a backfill is unknown.
        """
        self._calls.check("backfill_task", task)
        check_flag("dry_run", dry_run)
        check_flag("confirm", confirm)
        if backfill_id is not None:
            check_id(backfill_id)
        since, until = moment_of("start", start), moment_of("end", end)
        if since > until:
            raise ValueError(f"start, {start}, is later than end, {end}.")
        plan = Plan(start=since, end=until, id=backfill_id, dry_run=dry_run, confirm=confirm)
        return await ExtraRuns(await self._access.within(transaction)).backfill(task, instance_name, plan)

    async def list_backfills(self, task: Task, instance_name: str | None = None) -> list[BackfillState]:
        """The backfills of a static task or an instance that have not ended, oldest first.

        :raises TaskNotFoundException: there is no such instance.
        :raises RepositoryException: the storage failed.
        """
        self._calls.check("list_backfills", task)
        return await ExtraRuns(self._access).backfills(task, instance_name)

    async def cancel_backfill(
        self, task: Task, instance_name: str | None, backfill_id: str, *, transaction: object = None
    ) -> bool:
        """Cancel a backfill: no further run of it starts. One that is under way finishes as usual.

        :param transaction: makes it a part of your own transaction: see :meth:`schedule_task`.
        :return: whether there was such a backfill.
        :raises TaskNotFoundException: there is no such instance.
        :raises RepositoryException: the storage failed; whether it is cancelled is unknown.
        """
        self._calls.check("cancel_backfill", task)
        check_id(backfill_id)
        return await ExtraRuns(await self._access.within(transaction)).cancel(task, instance_name, backfill_id)
