"""Runs beside the schedule, as operators ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyncette._leases.asked import Ask
from pyncette._leases.control import ChangeControl, ControlReading
from pyncette._leases.held import new_revision
from pyncette._leases.store import Store
from pyncette._leases.writer import Writer
from pyncette._tasks.control import CONTROL, Asked
from pyncette._tasks.extra import ExtraRun
from pyncette._tasks.spec import decode_args, encode_args
from pyncette._tasks.task import Task
from pyncette.clock import Clock

from .calls import CallCheck
from .instances import locate


class ExtraRuns:
    """The operations of one app context."""

    def __init__(self, store: Store, writer: Writer, clock: Clock, reading: ControlReading) -> None:
        self._store = store
        self._writer = writer
        self._clock = clock
        self._reading = reading

    async def trigger(self, task: Task, name: str | None, args: Mapping[str, Any]) -> str:
        """Returns the id of the run."""
        home, ref = locate(task, name)
        run = ExtraRun(new_revision(), self._clock.now(), decode_args(encode_args(args)))
        write = Ask(ref, run)
        self._writer.submit(write)
        await write.wait()
        template, asked_at = home.template.canonical_name, self._clock.now()
        (control,) = await self._store.read((CONTROL,))
        self._reading.take(control, asked_at)
        if template in self._reading.control.paused:
            asked = Asked(ref.queue, ref.key, run.id)
            change = ChangeControl(lambda control, _: control.ask(template, asked), self._reading)
            self._writer.submit(change)
            await change.wait()
        return run.id


class OnDemand:
    """The part of an app context that asks for runs."""

    _calls: CallCheck
    _extra_runs: ExtraRuns

    async def trigger_task(
        self, task: Task, instance_name: str | None = None, args: Mapping[str, Any] | None = None
    ) -> str:
        """Execute a static task or an instance once, beside its schedule, which stays as it is. Returns when the run is
        safely stored; it begins within a poll interval, or when what is under way has ended.

        An instance that is paused, dead or completed is executed too, and stays what it is; of a paused template within
        two poll intervals. The run follows ``retry`` and ``timeout``. If it fails, that makes the instance neither dead
        nor paused. Each call is one run, even if the storage's answer is lost; the scheduled occurrence, its attempts
        and the moment of its retry wait until the run has ended.

        :param task: the static task; a concrete instance; or the template, with ``instance_name``.
        :param args: arguments of this run alone, which come before those of the instance.
        :return: the run's id: what :attr:`Context.run_id` will be.
        :raises TaskNotFoundException: there is no such instance.
        :raises TooManyRunsException: 10 runs of the instance wait already; or its template is paused, and 100 of it and
            other paused templates.
        :raises ValueError: the arguments are no JSON, a name is missing or there is one too many, or what is stored is
            damaged.
        :raises RepositoryException: the storage failed; whether there will be a run is unknown.
        """
        self._calls.check("trigger_task", task)
        return await self._extra_runs.trigger(task, instance_name, {} if args is None else args)
