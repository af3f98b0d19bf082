"""One run of the chaos: a store, workers, operators and faults. Then everything recovers, and the rest is executed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from pyncette import PyncetteContext
from pyncette.errors import RepositoryException
from tests.helpers.network import Network

from .clocks import environment
from .faults import Fault, Faults, networks
from .journal import READY, now
from .processes import Slot, ended, spawn, until_written
from .stores import Store
from .worker import EPOCH, Declared, declare

LEAD_SECONDS = 1
"""Seconds from scheduling the instances to their first occurrences."""


@dataclass(frozen=True)
class Plan:
    """The parameters of a run.

    :ivar instances: the number of instances due each second.
    :ivar every: seconds between two faults, on average.
    :ivar lease: the lease duration in seconds.
    :ivar poll: the poll interval in seconds.
    :ivar batch: how many instances each worker claims, and executes, at a time.
    """

    store: str
    seconds: float
    seed: int
    faults: tuple[str, ...]
    workers: int = 4
    operators: int = 2
    instances: int = 200
    every: float = 1.0
    lease: float = 3.0
    poll: float = 0.5
    batch: int = 100


@dataclass(slots=True)
class Scene:
    """The result of a run.

    :ivar expected: the first and the last occurrence of each instance that no operator touches, in microseconds.
    :ivar offset: the difference between the true time and monotonic time, in microseconds.
    :ivar left: the instances that were left at the end.
    :ivar wrong: problems with processes.
    :ivar refused: the number of workers that did not start because the storage was unreachable.
    """

    expected: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    offset: int = 0
    began: int = 0
    healed: int = 0
    drained: int = 0
    left: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: int = 0


class Stage:
    """Carries out a plan."""

    def __init__(self, plan: Plan, store: Store, folder: Path) -> None:
        self._plan = plan
        self._store = store
        self._folder = folder
        self._scene = Scene()

    async def play(self) -> Scene:
        plan, scene = self._plan, self._scene
        async with AsyncExitStack() as stack:
            operators = plan.operators if "operators" in plan.faults else 0
            ways = await stack.enter_async_context(networks(self._store, plan.workers + operators + 1))
            declared = declare(self._options(ways[-1] if ways else None))
            context = await stack.enter_async_context(declared.app.create())
            scene.offset = time.time_ns() // 1000 - now()
            slots = [self._slot(n, ways) for n in range(plan.workers)]
            await stack.enter_async_context(_working(slots))
            for slot in slots:
                await slot.until_ready()
            actors = [self._operator(n, ways) for n in range(operators)]
            await stack.enter_async_context(_ending(actors))
            for number in range(operators):
                await until_written(self._folder / f"operator-{number}", READY)
            await self._schedule(context, declared)
            await self._hurt(slots, ways)
            scene.healed = now()
            await self._quiet(actors)
            await self._drain(context, declared, slots)
            scene.drained = now()
            for slot in slots:
                await slot.until_ready()
                await slot.stop()
                scene.wrong += slot.died
                scene.refused += slot.refused
        return scene

    def _options(self, way: Network | None) -> dict[str, Any]:
        address = self._store.address
        port = way.port if way else address[1] if address else 0
        plan = self._plan
        app = {"batch_size": plan.batch, "concurrency_limit": plan.batch}
        return {**self._store.options(port), **app, "lease": plan.lease, "poll": plan.poll, "seed": plan.seed}

    def _slot(self, number: int, ways: list[Network]) -> Slot:
        slot = Slot(self._folder, number, self._options(ways[number] if ways else None))
        if "clock" in self._plan.faults:
            slot.environment = environment(slot.clock)
        return slot

    def _operator(self, number: int, ways: list[Network]) -> subprocess.Popen[bytes]:
        options = self._options(ways[self._plan.workers + number] if ways else None)
        journal, output = self._folder / f"operator-{number}", self._folder / f"output-operator-{number}"
        arguments = ["asyncio", str(journal), json.dumps(options), str(number)]
        return spawn("tests.chaos.operators", arguments, output)

    async def _schedule(self, context: PyncetteContext, declared: Declared) -> None:
        """Schedule instances that are due every second until the end; each tenth is executed at most once."""
        start = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS)
        count, scene = self._plan.instances, self._scene
        seconds = round(self._plan.seconds)
        for template, prefix, numbers in (
            (declared.steady, "s", range(count - count // 10)),
            (declared.once, "o", range(count // 10)),
        ):
            wanted = []
            for number in numbers:
                first = start + timedelta(microseconds=number * 1_000_000 // len(numbers))
                last = first + timedelta(seconds=seconds - 1)
                scene.expected[f"{prefix}{number}"] = _micros(first), _micros(last)
                wanted.append((f"{prefix}{number}", _each_second(first, last)))
            result = await context.schedule_tasks(template, wanted)
            if result.done != len(wanted):
                raise RuntimeError(f"{len(result.refused)} instances were refused: {result.refused[:3]}")

    async def _hurt(self, slots: list[Slot], ways: list[Network]) -> None:
        plan, scene = self._plan, self._scene
        faults = Faults(plan.faults, self._store, slots, ways, plan.seed)
        scene.faults = faults.done
        scene.began = now()
        async with anyio.create_task_group() as group:
            group.start_soon(faults.run, plan.every)
            await anyio.sleep(plan.seconds)
            group.cancel_scope.cancel()

    async def _quiet(self, actors: list[subprocess.Popen[bytes]]) -> None:
        """Stop the operators."""
        for actor in actors:
            with suppress(ProcessLookupError):
                actor.send_signal(signal.SIGTERM)
        for number, actor in enumerate(actors):
            if (status := await ended(actor)) != 0:
                said = (self._folder / f"output-operator-{number}").read_text()[-2000:]
                self._scene.wrong.append(f"operator {number} ended with {status}:\n{said}")

    async def _drain(self, context: PyncetteContext, declared: Declared, slots: list[Slot]) -> None:
        """Wait until no instance is left, or nothing happens any more."""
        timeout = 30 + 3 * self._plan.lease
        written, since = -1, time.monotonic()
        while self._scene.left != [] or written < 0:
            with suppress(RepositoryException):
                self._scene.left = [
                    state.task.canonical_name
                    for template in declared.templates
                    for state in (await context.list_tasks(template, limit=20)).tasks
                ]
            for slot in slots:
                slot.look()
            if (size := sum(path.stat().st_size for path in self._folder.glob("worker-*"))) != written:
                written, since = size, time.monotonic()
            elif time.monotonic() > since + timeout:
                return
            await anyio.sleep(0.2)


def _each_second(first: datetime, last: datetime) -> dict[str, Any]:
    return {"interval": timedelta(seconds=1), "start_at": first, "end_at": last}


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@asynccontextmanager
async def _working(slots: list[Slot]) -> AsyncIterator[None]:
    try:
        for slot in slots:
            slot.start()
        yield
    finally:
        for slot in slots:
            slot.close()


@asynccontextmanager
async def _ending(processes: list[subprocess.Popen[bytes]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
