"""The measured process: the same code on pyncette 1.1.0 and on this version, through the public API.

Argument: a JSON object with the case, the backend and its options. The process prints "ready", starts at a line on
standard input, resets its CPU time at each further line, prints its progress, and stops at the end of standard input.
Then it prints its measurements as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
import json
import random
import resource
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

UTC = datetime.timezone.utc  # noqa: UP017 - 1.1.0 is measured with the same code
LEASE = datetime.timedelta(seconds=60)


class Subject:
    """The app under test, and its executions."""

    def __init__(self, backend: str, options: dict[str, Any], policies: dict[str, Any], history: str = "") -> None:
        from pyncette import Context, Pyncette

        if history:
            options = {**options, "history": datetime.timedelta(days=7), "history_of": history}
        if backend == "memory":
            self.app = Pyncette(**options)
        else:
            factory = getattr(importlib.import_module(f"pyncette.{backend}"), f"{backend}_repository")
            self.app = Pyncette(repository_factory=factory, **options)
        self.count = 0
        self.last = 0.0
        self.lags: list[float] = []

        @self.app.dynamic_task(lease_duration=LEASE, **policies)
        async def work(context: Context) -> None:
            now = time.time()
            self.count += 1
            self.last = now
            self.lags.append(now - context.scheduled_at.timestamp())

        self.work = work


def declared(jitter: bool) -> dict[str, Any]:
    """Policies that apply to every execution, although nothing fails."""
    from pyncette import Retry

    second = datetime.timedelta(seconds=1)
    policies = {"retry": Retry(3, delay=second), "timeout": 30 * second}
    return {**policies, "jitter": second} if jitter else policies


async def lines() -> AsyncIterator[str]:
    """The lines of standard input."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield line


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def execute(subject: Subject, job: dict[str, Any]) -> dict[str, Any]:
    """Run the app from the signal to begin until the end of standard input."""
    pruned = counting_prunes(subject.app) if "old_lines" in job else [0]
    async with subject.app.create() as context:
        if job.get("old_lines"):
            await fill_log(job)
        if "load" in job:
            await load(subject, context, job["load"])
        print("ready", flush=True)
        commands = lines()
        await anext(commands)
        began, cpu = time.time(), cpu_seconds()
        running = asyncio.ensure_future(context.run())
        teller = asyncio.ensure_future(tell(subject, job.get("tell", 0.02)))
        async for _ in commands:
            cpu = cpu_seconds()
        spent = cpu_seconds() - cpu
        context.shutdown()
        teller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await teller
        await running
        done = {"began": began, "last": subject.last, "count": subject.count, "cpu": spent, "lags": subject.lags}
        return {**done, "pruned": pruned[0]}


def counting_prunes(app: Any) -> list[int]:
    """Returns a list with one number: the lines of the log that the app has deleted, to the nearest batch."""
    from pyncette.observer import Observer

    pruned = [0]

    class Counter(Observer):
        def operation_finished(self, event: Any, /) -> None:
            pruned[0] += 1000 * (event.operation == "prune_runs")

    app.use_observer(Counter())
    return pruned


async def fill_log(job: dict[str, Any]) -> None:
    """Append as many lines to the log of runs as ``job`` says, older than the log's retention."""
    from pyncette.record import Change, Record, RunLine

    factory = getattr(importlib.import_module(f"pyncette.{job['backend']}"), f"{job['backend']}_repository")
    async with factory(**job["options"]) as repository:
        known: list[Record | None] = [None] * 1000
        for start in range(0, job["old_lines"], 1000):
            changes = []
            for place, old in enumerate(known):
                key, number = f"old:{place}", start + place
                new = Record("old", key, 2**52, 2**52, None, None, f"{number:016x}", 0, 0, "{}")
                line = RunLine(f"{number:016x}", "old", key, 1_000_000 + number, "succeeded", '{"v":1}' + " " * 100)
                changes.append(Change(old, new, line))
            await repository.swap(changes)
            known = [change.new for change in changes]


async def tell(subject: Subject, pause: float) -> None:
    told = -1
    while True:
        if subject.count != told:
            told = subject.count
            print(told, flush=True)
        await asyncio.sleep(pause)


async def load(subject: Subject, context: Any, plan: dict[str, Any]) -> None:
    """Schedule the instances that the case needs."""
    now = datetime.datetime.now(UTC)
    count = plan["count"]
    each: list[dict[str, Any]]
    if plan["kind"] == "overdue":
        each = [{"execute_at": now - datetime.timedelta(seconds=1)} for _ in range(count)]
    elif plan["kind"] == "scattered":  # overdue, but due at different moments
        each = [{"execute_at": now - datetime.timedelta(seconds=1 + random.random())} for _ in range(count)]
    elif plan["kind"] == "spread":
        first = now + datetime.timedelta(seconds=2 + count / 2000)  # by then, all of them are stored
        step = datetime.timedelta(seconds=plan["seconds"] / count)
        each = [{"execute_at": first + i * step} for i in range(count)]
    elif plan["kind"] == "steady":
        each = [{"interval": datetime.timedelta(seconds=1)} for _ in range(count)]
    else:
        each = [{"execute_at": now + datetime.timedelta(days=365)} for _ in range(count)]
    await schedule_all(subject, context, [(f"instance{i}", kwargs) for i, kwargs in enumerate(each)])


async def schedule_all(subject: Subject, context: Any, instances: list[tuple[str, dict[str, Any]]]) -> None:
    """Schedule in bulk, or by 100 concurrent calls if there is no bulk call."""
    if hasattr(context, "schedule_tasks"):
        result = await context.schedule_tasks(subject.work, instances)
        if result.refused:
            raise result.refused[0][1]
        return
    pending = iter(instances)

    async def schedule() -> None:
        for name, kwargs in pending:
            await context.schedule_task(subject.work, name, **kwargs)

    await asyncio.gather(*(schedule() for _ in range(100)))


async def register(subject: Subject, job: dict[str, Any]) -> dict[str, Any]:
    """Schedule instances one by one, or as fast as the version can."""
    count = job["count"]
    at = datetime.datetime.now(UTC) + datetime.timedelta(days=365)
    kwargs: dict[str, Any] = {"execute_at": at, "data": "x" * 64}
    instances = [(f"instance{i}", kwargs) for i in range(count)]
    async with subject.app.create() as context:
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        if job["bulk"]:
            await schedule_all(subject, context, instances)
        else:
            for name, kwargs in instances:
                await context.schedule_task(subject.work, name, **kwargs)
        elapsed = time.perf_counter() - began
    return {"rate": count / elapsed}


def main() -> None:
    job = json.loads(sys.argv[1])
    chosen = job.get("policies")
    policies = declared(jitter=chosen == "all") if chosen else {}
    subject = Subject(job["backend"], job["options"], policies, job.get("history", ""))
    case = register if job["case"] == "register" else execute
    print(json.dumps(asyncio.run(case(subject, job))), flush=True)


if __name__ == "__main__":
    main()
