"""A burst of instances that compute, executed by `pyncette run` in one or more processes on PostgreSQL."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.terminal import Place

COMPUTES = 0.002
"""Seconds of CPU that each execution takes."""

DEADLINE = 180

APP = """
import os
import time
from datetime import timedelta

from pyncette import Context, Pyncette

app = Pyncette({url!r}, postgres_table_name={table!r}, poll_interval=timedelta(milliseconds=100))
done = os.open(os.path.join(os.path.dirname(__file__), "done"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@app.dynamic_task()
async def compute(context: Context) -> None:
    end = time.thread_time() + {computes}
    while time.thread_time() < end:
        pass
    os.write(done, f"{{os.getpid()}} {{context.task.name}} {{time.time()}} {{time.process_time()}}\\n".encode())
"""


@dataclass(frozen=True, slots=True)
class Burst:
    """The result of a burst.

    :ivar by_process: the number of executions by process.
    :ivar by_instance: the number of executions by instance.
    :ivar seconds: the time from the first execution to the last.
    :ivar cpu: seconds of CPU that the processes used in that time.
    """

    by_process: Counter[str]
    by_instance: Counter[str]
    seconds: float
    cpu: float


def burst(place: Place, url: str, table: str, *, workers: int, count: int) -> Burst:
    """Execute ``count`` instances that come due at once, while all workers are waiting for them."""
    (place.folder / "tasks.py").write_text(APP.format(url=url, table=table, computes=COMPUTES))
    (place.folder / "done").unlink(missing_ok=True)
    once = {"next": "2026-01-01T00:00:00Z", "execute_at": "2026-01-01T00:00:00Z"}
    rows = ({"task": "compute", "instance": f"{n}", **once} for n in range(count))
    (place.folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for command in (("schema", "upgrade"), ("import", "in.jsonl"), ("pause", "compute")):
        _succeed(place, *command)
    argv = [*place.program, "run", "tasks", "--workers", str(workers)]
    process = subprocess.Popen(argv, cwd=place.folder, env=place.environ(), stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + DEADLINE
        while len(place.run("workers", "--json", "--app", "tasks").stdout.splitlines()) < workers:
            assert time.monotonic() < end, "the workers did not start"
        _succeed(place, "resume", "compute")
        while len(lines := _lines(place.folder / "done")) < count:
            assert time.monotonic() < end, f"{len(lines)} after {DEADLINE} s"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    moments = [float(moment) for _, _, moment, _ in lines]
    cpu: dict[str, list[float]] = {}
    for pid, _, _, used in lines:
        cpu.setdefault(pid, []).append(float(used))
    return Burst(
        Counter(pid for pid, *_ in lines),
        Counter(name for _, name, *_ in lines),
        max(moments) - min(moments),
        sum(max(used) - min(used) for used in cpu.values()),
    )


def _succeed(place: Place, *command: str) -> None:
    done = place.run(*command, "--app", "tasks")
    assert done.returncode == 0, done.stderr


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
