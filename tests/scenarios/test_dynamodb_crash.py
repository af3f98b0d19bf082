"""Several processes on one DynamoDB table: each occurrence is executed by one of them, and those of a killed process by
another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from tests.helpers.dynamodb import REGION, credentials, table
from tests.servers.model import Server

from .workers import SECOND, Workers


@pytest.fixture
def workers(
    workers_of: Callable[[dict[str, Any]], Workers], dynamodb_server: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workers]:
    credentials(monkeypatch)
    with table(dynamodb_server.endpoint) as name:
        workers = workers_of({"url": f"dynamodb://{REGION}/{name}?endpoint={dynamodb_server.endpoint}"})
        yield workers
        workers.abandon()


def test_two_processes_of_which_one_is_killed(workers: Workers) -> None:
    first = anyio.run(workers.schedule, 60)
    workers.start(2)
    seconds = 15
    workers.wait_until_busy(workers.workers)
    workers.kill_the_busiest()
    workers.wait_for({(name, at + n * SECOND) for name, at in first.items() for n in range(seconds)})
    workers.stop()
    workers.check_executed_again()
