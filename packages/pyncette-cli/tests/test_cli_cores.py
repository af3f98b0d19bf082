"""`pyncette run --workers 2` on PostgreSQL: a burst is shared by both processes, and each instance executed once."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.terminal import Place
from tests.servers.model import Server

pytestmark = pytest.mark.timeout(300)

COUNT = 1500

APP = """
import os
import time
from datetime import timedelta

from pyncette import Context, Pyncette

app = Pyncette({url!r}, postgres_table_name={table!r}, poll_interval=timedelta(milliseconds=100))
done = os.open(os.path.join(os.path.dirname(__file__), "done"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@app.dynamic_task()
async def compute(context: Context) -> None:
    end = time.thread_time() + 0.002  # what a core has to do
    while time.thread_time() < end:
        pass
    os.write(done, f"{{os.getpid()}} {{context.task.name}} {{time.time()}}\\n".encode())
"""


def burst(place: Place, url: str, workers: int) -> tuple[Counter[str], Counter[str], float]:
    """Executions by process and by instance, and the seconds from the first to the last."""
    table = f"burst_{workers}"
    (place.folder / "tasks.py").write_text(APP.format(url=url, table=table))
    (place.folder / "done").unlink(missing_ok=True)
    rows = ({"task": "compute", "instance": f"{n}", "next": "2026-01-01T00:00:00Z"} for n in range(COUNT))
    once = {"execute_at": "2026-01-01T00:00:00Z"}
    (place.folder / "in.jsonl").write_text("".join(json.dumps({**row, **once}) + "\n" for row in rows))
    for command in (("schema", "upgrade"), ("import", "in.jsonl"), ("pause", "compute")):
        done = place.run(*command, "--app", "tasks")
        assert done.returncode == 0, done.stderr
    argv = [sys.executable, "-m", "pyncette_cli", "run", "tasks", "--workers", str(workers)]
    process = subprocess.Popen(argv, cwd=place.folder, env=place.environ(), stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while len(place.run("workers", "--json", "--app", "tasks").stdout.splitlines()) < workers:
            assert time.monotonic() < end, "the workers did not start"
        assert place.run("resume", "compute", "--app", "tasks").returncode == 0
        while len(lines := lines_of(place.folder / "done")) < COUNT:
            assert time.monotonic() < end, f"{len(lines)} after two minutes"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    moments = [float(moment) for _, _, moment in lines]
    return Counter(pid for pid, _, _ in lines), Counter(name for _, name, _ in lines), max(moments) - min(moments)


def lines_of(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_two_workers_share_a_burst(place: Place, postgres_server: Server) -> None:
    """How much quicker that is depends on the cores that are free: it is told by `-s`, and not asserted."""
    _, _, alone = burst(place, postgres_server.url, 1)
    by_process, by_instance, together = burst(place, postgres_server.url, 2)
    assert len(by_process) == 2
    assert min(by_process.values()) > COUNT / 5
    assert set(by_instance.values()) == {1}
    sys.stdout.write(f"one worker {alone:.2f} s, two {together:.2f} s: {alone / together:.2f} times\n")
