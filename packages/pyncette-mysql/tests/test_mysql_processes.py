"""Several processes on one table; one of them is killed, and so is the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest

from pyncette.record import Change, Queue, Record
from pyncette.testing.contract.base import applied
from tests.helpers.mysql import Store
from tests.servers.plugin import StartServer

WORKER = Path(__file__).with_name("mysql_worker.py")
RECORDS = 3000
FAR = 4_000_000_000_000_000
TASK = Queue("task")


class Worker:
    def __init__(self, journal: Path, store: Store) -> None:
        self.journal = journal
        with journal.open("wb") as output:
            command = [sys.executable, str(WORKER), json.dumps(store.options), str(FAR)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output)

    def lines(self, event: str) -> list[str]:
        """Complete lines only: the last one may be truncated."""
        lines = self.journal.read_text().rpartition("\n")[0].splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(event)]

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.close()

    async def wait_for(self, event: str, count: int) -> None:
        while len(self.lines(event)) < count:
            assert self.process.poll() is None, "the worker ended too early"
            await anyio.sleep(0.01)


@pytest.mark.parametrize("kind", ["mysql", "mariadb"])
async def test_processes_and_server_killed(start_server: StartServer, tmp_path: Path, kind: str) -> None:
    """All records are done, none is completed twice, and no two leases have the same fencing token."""
    with start_server(kind) as server:
        store = Store(server)
        async with store.open() as repository:
            records = [Record("task", f"task:{n}", n, n, None, None, "new", 0, 0, "{}") for n in range(RECORDS)]
            assert applied(await repository.swap([Change(None, one) for one in records]))
            workers = [Worker(tmp_path / f"{n}.log", store) for n in range(3)]
            try:
                for worker in workers:
                    await worker.wait_for("ready", 1)
                for worker in workers:
                    worker.begin()
                for worker in workers:
                    await worker.wait_for("completed", 100)
                victim, *survivors = workers
                victim.process.kill()
                await anyio.to_thread.run_sync(lambda: server.restart(kill=True))
                for worker in survivors:
                    assert await anyio.to_thread.run_sync(worker.process.wait) == 0
            finally:
                for worker in workers:
                    worker.process.kill()
                    worker.process.wait()
        async with store.open() as repository:
            found = await repository.scan(TASK, after=None, limit=RECORDS + 1)
    assert len(found) == RECORDS
    assert {(one.due_at, one.ready_at, one.locked_by, one.attempt) for one in found} == {(FAR, FAR, None, 0)}
    claims = Counter(line for worker in workers for line in worker.lines("claimed"))
    assert max(claims.values()) == 1
    completed = Counter(line for worker in workers for line in worker.lines("completed"))
    assert max(completed.values()) == 1
    # The journal lacks outcomes whose last message, of a process or of the server, was lost.
    assert len(completed) >= RECORDS - 5 * 20
    latest: dict[str, int] = {}
    for key, fence in (line.split() for line in claims):
        latest[key] = max(latest.get(key, 0), int(fence))
    assert latest == {one.key: one.fence for one in found}
