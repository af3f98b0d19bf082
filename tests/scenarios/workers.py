"""Several workers on one storage, and checks that every occurrence was executed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from .worker import EPOCH, make_app

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000

Occurrence = tuple[str, int]

TIMEOUT = 300
"""Seconds until something counts as hanging. On a busy machine, what normally takes seconds may take minutes."""


class Worker:
    """A worker process.

    :ivar output: the file with everything that it printed.
    """

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
        """The occurrences that it started to execute, in order."""
        if not self._log.exists():
            return []
        lines = (line.rsplit(" ", 1) for line in self._log.read_text().splitlines())
        return [(name, int(occurrence)) for name, occurrence in lines]


class Workers:
    """Workers that share one storage; at most one is killed.

    :ivar killed: the worker that was killed, if any.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._folder = folder
        self.workers: list[Worker] = []
        self.killed: Worker | None = None

    async def schedule(self, instances: int) -> dict[str, int]:
        """Schedule instances that are due every second. Returns the first occurrence of each."""
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

    def start(self, count: int, **options: Any) -> list[Worker]:
        """Start more workers, with these additional options."""
        number = len(self.workers)
        more = [Worker(self._folder, number + n, self._options | options) for n in range(count)]
        self.workers += more
        return more

    def kill(self, worker: Worker) -> None:
        """Kill a worker without warning."""
        self.killed = worker
        assert worker.executed(), "a worker that has done nothing is no loss"
        worker.process.kill()
        worker.process.wait()

    def kill_the_busiest(self) -> None:
        """Kill the worker that has executed the most."""
        self.kill(max(self.workers, key=lambda worker: len(worker.executed())))

    def wait_until_busy(self, workers: list[Worker]) -> None:
        """Wait until each of them has executed something."""
        self._until(lambda: [worker.output.name for worker in workers if not worker.executed()])

    def wait_until_printed(self, worker: Worker, text: str) -> None:
        """Wait until the worker has printed this text."""
        self._until(lambda: [] if text in worker.output.read_text() else [text])

    def wait_for(self, occurrences: set[Occurrence]) -> None:
        """Wait until each of them has been executed."""
        self._until(lambda: occurrences.difference(*(worker.executed() for worker in self.workers)))

    def wait_until_executed(self, instances: set[str]) -> None:
        """Wait until each of the instances has been executed."""
        self._until(lambda: instances - {name for worker in self.workers for name, _ in worker.executed()})

    def stop(self, workers: list[Worker] | None = None) -> None:
        """Stop workers gracefully: these, or all that are running."""
        alive = [worker for worker in workers or self.workers if worker.process.poll() is None]
        for worker in alive:
            self.wait_until_printed(worker, "Running ")  # from then on it handles signals
            worker.process.send_signal(signal.SIGTERM)
        assert [worker.process.wait(TIMEOUT) for worker in alive] == [0] * len(alive), self.outputs()

    def check_executed_again(self) -> None:
        """Only occurrences that the killed worker had started were executed twice, and no more than it could have under
        way."""
        assert self.killed is not None
        counts = Counter(occurrence for worker in self.workers for occurrence in worker.executed())
        twice = {occurrence for occurrence, count in counts.items() if count > 1}
        assert twice <= set(self.killed.executed()), sorted(twice - set(self.killed.executed()))[:10]
        assert len(twice) <= 500  # its slots, and results that were not stored yet

    def outputs(self) -> str:
        return "\n".join(worker.output.read_text()[-3000:] for worker in self.workers)

    def abandon(self) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()

    def _until(self, missing: Callable[[], list[str] | set[str] | set[Occurrence]]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while left := missing():
            assert time.monotonic() < deadline, f"{len(left)} missing: {sorted(left)[:5]}\n{self.outputs()}"
            time.sleep(0.2)
