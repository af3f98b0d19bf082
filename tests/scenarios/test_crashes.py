"""When workers and servers are killed under load, nothing is lost, and nothing is executed twice without need."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.servers.model import Server

from .workers import SECOND, Workers

StartServer = Callable[..., AbstractContextManager[Server]]
WorkersOf = Callable[[dict[str, Any]], Workers]


def test_two_processes_on_a_sqlite_file(workers_of: WorkersOf, tmp_path: Path) -> None:
    workers = workers_of({"url": f"sqlite:///{tmp_path}/pyncette.db"})
    first = anyio.run(workers.schedule, 200)
    workers.start(2)
    seconds = 20
    workers.wait_until_busy(workers.workers)
    workers.kill_the_busiest()
    workers.wait_for({(name, at + n * SECOND) for name, at in first.items() for n in range(seconds)})
    workers.stop()
    workers.check_executed_again()


@pytest.mark.parametrize("kind", ["postgres", "redis", "mysql", "mariadb"])
def test_four_processes_and_a_server_that_crashes(workers_of: WorkersOf, start_server: StartServer, kind: str) -> None:
    with start_server(kind) as server:
        workers = workers_of({"url": server.url.replace("mariadb://", "mysql://")})
        first = anyio.run(workers.schedule, 1000)
        workers.start(4)
        seconds = 15
        workers.wait_until_busy(workers.workers)
        workers.kill_the_busiest()
        time.sleep(2)  # so that the other workers are busy when the server is killed
        server.restart(kill=True)
        workers.wait_for({(name, at + n * SECOND) for name, at in first.items() for n in range(seconds)})
        workers.stop()
        workers.check_executed_again()
