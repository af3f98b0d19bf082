"""Nothing is lost and nothing is executed twice that need not be, when workers and servers are killed under load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.servers.model import Server

from .crew import SECOND, Crew

StartServer = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def crew_of(tmp_path: Path) -> Iterator[Callable[..., Crew]]:
    crews: list[Crew] = []

    def make(count: int, options: dict[str, Any]) -> Crew:
        crews.append(Crew(tmp_path, count, options))
        return crews[-1]

    yield make
    for crew in crews:
        crew.abandon()


def check(crew: Crew) -> None:
    """Duplicates are only what the killed worker had begun, and at most what it could have under way."""
    assert crew.killed is not None
    twice = crew.executed_again()
    assert twice <= set(crew.killed.executed()), sorted(twice - set(crew.killed.executed()))[:10]
    assert len(twice) <= 500  # its executions and what of them was not stored yet


def test_two_processes_on_a_sqlite_file(crew_of: Callable[..., Crew], tmp_path: Path) -> None:
    crew = crew_of(2, {"url": f"sqlite:///{tmp_path}/pyncette.db"})
    first = anyio.run(crew.schedule, 200)
    crew.start()
    seconds = 20
    time.sleep(8)
    crew.kill_one()
    crew.wait_for({(name, at + n * SECOND) for name, at in first.items() for n in range(seconds)}, timeout=90)
    crew.stop()
    check(crew)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["postgres", "redis", "mysql", "mariadb"])
def test_four_processes_and_a_server_that_crashes(
    crew_of: Callable[..., Crew], start_server: StartServer, kind: str
) -> None:
    with start_server(kind) as server:
        url = server.url.replace("mariadb://", "mysql://")
        crew = crew_of(4, {"url": url})
        first = anyio.run(crew.schedule, 1000)
        crew.start()
        seconds = 15
        time.sleep(5)
        crew.kill_one()
        time.sleep(3)
        server.restart(kill=True)
        crew.wait_for({(name, at + n * SECOND) for name, at in first.items() for n in range(seconds)}, timeout=150)
        crew.stop()
        check(crew)
