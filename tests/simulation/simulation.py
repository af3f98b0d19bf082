"""Runs a plan: whole apps share one storage in memory, in virtual time."""

from __future__ import annotations

import asyncio
import random
from contextvars import copy_context
from typing import Any

import anyio

from pyncette import PyncetteContext
from pyncette._tasks.control import CONTROL, Control, decode
from pyncette.record import Band

from .history import Fault, History
from .loop import Process, SimulatedLoop, current_process
from .network import Network, SeenRepository, Trouble
from .operating import Operator
from .plan import OPERATORS, Plan, Step, TaskPlan
from .programs import Behaviour, make_program
from .versions import LaterNetwork
from .world import World, installed

TIMEOUT = 900
"""Seconds of virtual time within which everything must be done once the faults have ended."""

LOOKS = 5
"""Seconds of virtual time between two checks for that."""

OVERDUE = 20_000_000
"""Microseconds by which a recurring instance may be overdue at the end, as it comes due again and again."""


class App:
    """A process that runs the program, from its start until it ends or is killed."""

    def __init__(self, process: Process, network: Network, version: int) -> None:
        self.process = process
        self.network = network
        self.version = version
        self.context: PyncetteContext | None = None
        self.scope = anyio.CancelScope()
        self.done = asyncio.Event()


class Simulation:
    """One run of a plan.

    :ivar history: what happened.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.history = History()
        self._rng = random.Random(plan.seed ^ 0x5EED)
        self._loop = SimulatedLoop(self._rng)
        self._world = World(self._loop, self._rng)
        self._storage = SeenRepository(self._world, self.history)
        self._behaviour = Behaviour(plan, self._world, self.history)
        self._apps: dict[str, App] = {}  # by the name of the worker, whose current process it is
        self._stopped: list[App] = []
        self._operators: dict[str, tuple[Operator, App]] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._number = 0

    def run(self) -> History:
        """Run the plan to its end, and return the history."""
        with installed(self._world):
            try:
                self._loop.run_until_complete(self._main())
            finally:
                self._bury()
        self.history.problems += self._loop.errors
        self.history.steps = self._loop.steps
        return self.history

    async def _main(self) -> None:
        current_process.set(Process("the simulation"))
        for name in OPERATORS:
            await self._operator(name)
        await self._prepare()
        for number in range(self.plan.settings.workers):
            self._start(f"worker {number}", version=1)
        for step in self.plan.steps:
            await self._until(step.at)
            self._take(step)
        await self._until(self.plan.settings.length)
        await self._end()

    async def _until(self, seconds: float) -> None:
        if seconds > self._loop.time():
            await asyncio.sleep(seconds - self._loop.time())

    # Processes.

    def _process(self, name: str) -> Process:
        process = Process(name, shuffled=self.plan.settings.shuffled)
        if self.plan.settings.tells_time:
            process.ahead = self._rng.choice([0, 0, -300_000, 2_000_000, -7_200_000_000])
            process.drift = self._rng.choice([0, 5e-5, -5e-5])
        return process

    def _network(self, process: Process, version: int) -> Network:
        settings = self.plan.settings
        kind = LaterNetwork if version > 1 else Network
        return kind(self._storage, self._world, self.history, process, settings.latency, tells_time=settings.tells_time)

    def _spawn(self, process: Process, coroutine: Any) -> None:
        context = copy_context()
        context.run(current_process.set, process)
        self._tasks.append(context.run(self._loop.create_task, coroutine))

    def _start(self, name: str, version: int) -> None:
        """Start a new process of a worker."""
        self._number += 1
        process = self._process(f"{name}.{self._number}")
        app = self._apps[name] = App(process, self._network(process, version), version)
        self._stopped.append(app)
        self._spawn(process, self._work(app))

    async def _work(self, app: App) -> None:
        program, _ = make_program(self.plan, app.process, app.version, app.network, self._behaviour)
        with app.scope:
            try:
                async with program.create() as app.context:
                    await app.context.run()
            except Exception as e:  # noqa: BLE001 -- an app must not raise anything else
                if not app.network.cut:
                    self.history.problems.append(f"{app.process.name} ended by {e!r}")
        app.done.set()

    async def _operator(self, name: str) -> None:
        process = self._process(name)
        app = App(process, self._network(process, 2), 2)
        self._stopped.append(app)
        opened = asyncio.Event()

        async def operate() -> None:
            program, tasks = make_program(self.plan, process, 2, app.network, None)
            with app.scope:
                async with program.create() as context:
                    self._operators[name] = Operator(name, context, tasks, self._world, self.history), app
                    opened.set()
                    await asyncio.Event().wait()

        self._spawn(process, operate())
        await opened.wait()

    async def _prepare(self) -> None:
        """Schedule the instances that exist from the beginning."""
        for task in self.plan.tasks:
            for name in task.names:
                await self._do("reschedule", task, name, {"seconds": task.interval})

    async def _do(self, what: str, task: TaskPlan, name: str | None, arguments: dict[str, Any]) -> None:
        """Let an operator do something, and wait for it."""
        operator, app = self._operators[OPERATORS[0]]
        done = asyncio.Event()

        async def do() -> None:
            await operator.do(what, {"task": task.name, "name": name, "number": 0, **arguments})
            done.set()

        self._spawn(app.process, do())
        await done.wait()

    # Steps.

    def _take(self, step: Step) -> None:
        if step.what.startswith("do "):
            operator, app = self._operators[step.who]
            self._spawn(app.process, operator.do(step.what.removeprefix("do "), step.arguments))
        elif step.what == "network":
            self._disturb(step)
        elif step.what == "restart":
            if self._apps[step.who].process.dead or self._apps[step.who].done.is_set():
                self._start(step.who, self._apps[step.who].version)
        elif step.who in self._apps:
            self._hit(step, self._apps[step.who])

    def _disturb(self, step: Step) -> None:
        app = self._operators[step.who][1] if step.who in self._operators else self._apps.get(step.who)
        if app is not None:
            app.network.trouble(Trouble(**step.arguments))

    def _hit(self, step: Step, app: App) -> None:
        now, name = self._world.now, app.process.name
        seconds = step.arguments.get("seconds", 0)
        if step.what == "kill":
            self.history.faults.append(Fault(now, now, name, "killed"))
            self._loop.kill(app.process)
        elif step.what == "freeze":
            self.history.faults.append(Fault(now, now + round(seconds * 1_000_000), name, "frozen"))
            self._loop.freeze(app.process, seconds)
        elif step.what == "clock":
            self.history.faults.append(Fault(now, now, name, "clock set"))
            app.process.ahead += round(seconds * 1_000_000)
        elif app.context is not None and not app.process.dead:
            self._shut_down(app)
            if step.what == "upgrade":
                self._start(step.who, 2)

    def _shut_down(self, app: App) -> None:
        """Make the process shut down when it is awake; one that is still starting gives up."""

        async def shut_down() -> None:
            if app.context is not None:
                app.context.shutdown()
            else:
                now = self._world.now
                self.history.faults.append(Fault(now, now, app.process.name, "cancelled"))
                app.scope.cancel()

        self._spawn(app.process, shut_down())

    # The end: no further faults or failures, and everything is resumed.

    async def _end(self) -> None:
        self._behaviour.healed = True
        for app in self._stopped:
            app.network.recover()
        thawed = max((app.process.frozen_until for app in self._stopped if not app.process.dead), default=0.0)
        await self._until(thawed)
        for last in self._apps.values():  # the deploy is over
            if last.version == 1 and not last.process.dead:
                self._shut_down(last)
        self._start("the last", version=2)
        self.history.paused_until = self._world.now
        await self._resume(whole=True)
        deadline = self._loop.time() + TIMEOUT
        left, looks = list[str](), 0
        while self._loop.time() < deadline:
            for task in self.plan.tasks:
                await self._do("retry" if task.kind == "static" else "retry_dead", task, None, {})
            if self._control().paused:  # since then
                await self._resume(whole=True)
            await self._resume(whole=False)
            await asyncio.sleep(LOOKS)
            left = self._unfinished()
            looks = 0 if left else looks + 1
            if looks == 2:  # at most once, an occurrence is executed after it has ended
                break
        self.history.problems += [f"not done in {TIMEOUT} s: {each}" for each in left]
        self.history.ended_at = self._world.now

    async def _resume(self, *, whole: bool) -> None:
        """Resume templates, or instances that are paused individually."""
        for task in self.plan.tasks:
            names = [None] if whole else self._paused_names(task)
            for name in names:
                await self._do("resume", task, name, {"whole": name is None, "catch_up": False})

    def _paused_names(self, task: TaskPlan) -> list[str | None]:
        """The instances that are paused, or may become so."""
        names: list[str | None] = []
        for key, record in sorted(self._storage._records.items()):
            if Band.of(record.ready_at) is Band.PAUSED or '"why"' in record.state:
                if record.queue == f":static:{task.name}":
                    names.append(None)
                elif record.queue == task.name or record.queue.startswith(f"{task.name}:"):
                    names.append(key.rpartition(":")[2])
        return names

    def _unfinished(self) -> list[str]:
        """Descriptions of what is still to be done."""
        found: list[str] = []
        for key, record in self._storage._records.items():
            if key.startswith(":") and not key.startswith(":static:"):
                continue
            why = _why_unfinished(record, self._world.now)
            if why:
                found.append(f"{key} {why}")
        found += [f"{asked} is looked for" for asked in self._control().requested]
        return [
            *found,
            *(f"{each.what} by {each.by} is open" for each in self.history.operations if each.until is None),
        ]

    def _control(self) -> Control:
        record = self._storage._records.get(CONTROL.key)
        return Control() if record is None else decode(record.spec)

    # Afterwards, remaining tasks are cancelled, so that no coroutine is left to the garbage collector.

    def _bury(self) -> None:
        for app in self._stopped:
            app.network.cut = True
            self._loop.bury(app.process)
        errors, before = list(self._loop.errors), len(self.history.stored)
        executions = len(self.history.executions)

        async def cancel() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._storage.asked_by = None
        self._loop.run_until_complete(cancel())
        del self.history.stored[before:], self.history.executions[executions:]
        self._loop.errors[:] = errors
        self._loop.close()


def _why_unfinished(record: Any, now: int) -> str:
    band = Band.of(record.ready_at)
    if '"extra"' in record.state and any(f'"{word}":' in record.state for word in ("asked", "run", "fills")):
        return f"has runs outside its schedule: {record.state}"
    if band is Band.COMPLETED:
        return ""
    if band is not None:
        return f"is {band.name}"
    if record.locked_by is not None:
        return f"is leased by {record.locked_by}"
    if record.due_at <= now - OVERDUE or '"at":' in record.spec:
        return f"is due, at {record.due_at}, ready at {record.ready_at}"
    return ""


def simulate(plan: Plan) -> History:
    """Run a plan."""
    return Simulation(plan).run()
