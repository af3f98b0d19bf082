"""Several processes on one DynamoDB table: each occurrence is executed by one, and what a killed one held by others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.dynamodb_kit import REGION, credentials, table
from tests.servers.model import Server

from .crew import SECOND, Crew


@pytest.fixture
def crew(tmp_path: Path, dynamodb_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    credentials(monkeypatch)
    with table(dynamodb_server.endpoint) as name:
        url = f"dynamodb://{REGION}/{name}?endpoint={dynamodb_server.endpoint}"
        crew = Crew(tmp_path, 2, {"url": url})
        yield crew
        crew.abandon()


@pytest.mark.timeout(240)
def test_two_processes_of_which_one_is_killed(crew: Crew) -> None:
    first = anyio.run(crew.schedule, 60)
    crew.start()
    seconds = 15
    time.sleep(8)
    both = [set(worker.executed()) for worker in crew.workers]
    assert all(both), "both take part"
    crew.kill_one()
    crew.wait_for({(name, at + n * SECOND) for name, at in first.items() for n in range(seconds)}, timeout=150)
    crew.stop()
    assert crew.killed is not None
    assert crew.executed_again() <= set(crew.killed.executed())
