"""Several workers on one storage, and what became of every occurrence."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from .worker import EPOCH, make_app

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000

Occurrence = tuple[str, int]


class Worker:
    def __init__(self, folder: Path, number: int, options: Mapping[str, Any]) -> None:
        self._log = folder / f"worker {number}"
        self.output = folder / f"output {number}"
        loop = ("asyncio", "trio")[number % 2]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.scenarios.worker", loop, str(self._log), json.dumps(options)],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def executed(self) -> list[Occurrence]:
        """What it began to execute, in order."""
        if not self._log.exists():
            return []
        lines = (line.rsplit(" ", 1) for line in self._log.read_text().splitlines())
        return [(name, int(occurrence)) for name, occurrence in lines]


class Crew:
    """Workers that share one storage; at most one is killed.

    :ivar killed: the one that was.
    """

    def __init__(self, folder: Path, count: int, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._folder = folder
        self._count = count
        self.workers: list[Worker] = []
        self.killed: Worker | None = None

    async def schedule(self, instances: int) -> dict[str, int]:
        """Schedule instances that are due each second; returns the first occurrence of each."""
        app, work, _ = make_app(dict(self._options))
        first: dict[str, int] = {}
        async with app.create() as context:
            each_second = {"interval": timedelta(seconds=1)}
            result = await context.schedule_tasks(work, ((f"instance {i}", each_second) for i in range(instances)))
            assert (result.done, result.refused) == (instances, [])
            token = None
            while page := await context.list_tasks(work, limit=1000, continuation_token=token):
                for state in page.tasks:
                    first[state.task.name] = (state.scheduled_at - EPOCH) // timedelta(microseconds=1)
                token = page.continuation_token
                if token is None:
                    break
        assert len(first) == instances
        return first

    def start(self) -> None:
        self.workers = [Worker(self._folder, number, self._options) for number in range(self._count)]

    def kill_one(self) -> None:
        """End the worker that has executed most without a warning."""
        self.killed = max(self.workers, key=lambda worker: len(worker.executed()))
        assert self.killed.executed(), "a worker that has done nothing is no loss"
        self.killed.process.kill()
        self.killed.process.wait()

    def wait_for(self, occurrences: set[Occurrence], timeout: float) -> None:
        """Until each of them was executed."""
        deadline = time.monotonic() + timeout
        while missing := occurrences.difference(*(worker.executed() for worker in self.workers)):
            assert time.monotonic() < deadline, f"{len(missing)} missing: {sorted(missing)[:5]}\n{self.outputs()}"
            time.sleep(0.5)

    def stop(self) -> None:
        """End all that live gracefully."""
        alive = [worker for worker in self.workers if worker is not self.killed]
        for worker in alive:
            worker.process.send_signal(signal.SIGTERM)
        assert [worker.process.wait(60) for worker in alive] == [0] * len(alive), self.outputs()

    def executed_again(self) -> set[Occurrence]:
        """What was executed more than once."""
        counts = Counter(occurrence for worker in self.workers for occurrence in worker.executed())
        return {occurrence for occurrence, count in counts.items() if count > 1}

    def outputs(self) -> str:
        return "\n".join(worker.output.read_text()[-3000:] for worker in self.workers)

    def abandon(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
