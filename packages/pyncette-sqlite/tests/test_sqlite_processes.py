"""Several processes on one file, one of them killed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from pyncette.record import Change, Queue, QueueClaim, Record
from pyncette.sqlite import sqlite_repository
from pyncette.testing.contract.base import applied

WORKER = Path(__file__).with_name("sqlite_worker.py")
RECORDS = 3000
BATCH = 10
NOW = 1_800_000_000_000_000
LEASES_END = NOW + 60_000_000


class Worker:
    def __init__(self, folder: Path, holder: str, backend: str) -> None:
        self.journal = folder / f"{holder}.log"
        with self.journal.open("wb") as log:
            command = [sys.executable, str(WORKER), str(folder / "pyncette.db"), holder, backend]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log)

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def keys(self, event: str) -> list[str]:
        """Complete lines only: the last one may be truncated."""
        lines = self.journal.read_text().rpartition("\n")[0].splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(event)]

    def wait_for(self, event: str, count: int) -> None:
        """Returns once there are this many lines. Only the test's timeout limits the wait."""
        while len(self.keys(event)) < count:
            assert self.process.poll() is None, "the worker ended too early"
            time.sleep(0.001)


@pytest.mark.parametrize("kill_after", [10, 100, 300])
async def test_two_processes_one_killed(tmp_path: Path, kill_after: int, anyio_backend_name: str) -> None:
    """Nothing is lost or claimed twice; the killed process's records can be claimed once its leases expire."""
    database = tmp_path / "pyncette.db"
    async with sqlite_repository(sqlite_database=database) as repository:
        records = [
            Record("task", f"task:{number}", NOW - number, NOW - number, None, None, "new", 0, 0, "{}")
            for number in range(RECORDS)
        ]
        assert applied(await repository.swap([Change(None, record) for record in records]))

        victim, survivor = (Worker(tmp_path, name, anyio_backend_name) for name in ("victim", "survivor"))
        for worker in (victim, survivor):
            worker.wait_for("ready", 1)
        for worker in (victim, survivor):
            worker.begin()
        survivor.wait_for("claimed", 1)
        victim.wait_for("claimed", kill_after)
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        assert survivor.process.wait() == 0

        found = await repository.scan(Queue("task"), after=None, limit=RECORDS + 1)
        held = [record for record in found if record.locked_by is not None]
        again = await repository.claim(
            [QueueClaim(Queue("task"), RECORDS, LEASES_END * 2)], now=LEASES_END, limit=RECORDS, token="t", holder="h"
        )

    assert len(found) == RECORDS
    assert {record.locked_by for record in held} <= {"victim"}
    assert sorted(record.key for record in again) == sorted(record.key for record in held)
    claims = Counter(victim.keys("claimed") + survivor.keys("claimed"))
    assert max(claims.values()) == 1
    done = victim.keys("completed") + survivor.keys("completed")
    assert not set(done) & {record.key for record in held}
    # The journal of the killed process may lack its last batch.
    assert RECORDS - BATCH <= len(set(done)) + len(held) <= RECORDS
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
