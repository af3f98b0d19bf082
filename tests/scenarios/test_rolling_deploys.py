"""A release with a new format of the stored data is rolled out under load, and partly rolled back. On every storage,
nothing is lost, and nothing is executed twice except what a killed process was executing.

To add a storage, add a fixture ``NAME_options`` here, its name to ``STORES``, and a line to ``next_release.py``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.helpers import dynamodb, postgres
from tests.helpers.mysql import Store
from tests.servers.model import Server

from .workers import SECOND, TIMEOUT, Workers

STORES = ["sqlite", "postgres", "mysql", "mariadb", "redis", "dynamodb"]
INSTANCES = dict.fromkeys(STORES, 100) | {"dynamodb": 20}  # DynamoDB Local is slow

Options = dict[str, Any]


@pytest.fixture
def sqlite_options(tmp_path: Path) -> Options:
    return {"url": f"sqlite:///{tmp_path}/pyncette.db"}


@pytest.fixture
def postgres_options(postgres_server: Server) -> Iterator[Options]:
    with postgres.table(postgres_server.url) as name:
        yield {"url": postgres_server.url, "postgres_table_name": name}


@pytest.fixture
def mysql_options(mysql_server: Server) -> Iterator[Options]:
    yield from _on(Store(mysql_server))


@pytest.fixture
def mariadb_options(mariadb_server: Server) -> Iterator[Options]:
    yield from _on(Store(mariadb_server))


def _on(store: Store) -> Iterator[Options]:
    yield {"url": store.server.url.replace("mariadb://", "mysql://"), "mysql_table_name": store.table}
    anyio.run(store.ask, f"DROP TABLE IF EXISTS {store.table}, {store.table}_runs")


@pytest.fixture
def dynamodb_options(dynamodb_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Options]:
    dynamodb.credentials(monkeypatch)
    with dynamodb.table(dynamodb_server.endpoint) as name:
        yield {"url": f"dynamodb://{dynamodb.REGION}/{name}?endpoint={dynamodb_server.endpoint}"}


@pytest.fixture
def redis_options(redis_server: Server) -> Options:
    return {"url": redis_server.url, "redis_namespace": uuid.uuid4().hex}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def workers(store: str, request: pytest.FixtureRequest, workers_of: Callable[[Options], Workers]) -> Workers:
    options: Options = request.getfixturevalue(f"{store}_options")
    # All come due at the same moments, and no single worker has enough slots for them.
    limit = INSTANCES[store] // 5
    return workers_of(options | {"lease_seconds": 6, "work_seconds": 0.3, "concurrency_limit": limit})


def test_a_rolling_deploy(workers: Workers, store: str) -> None:
    began = time.monotonic()
    first = anyio.run(workers.schedule, INSTANCES[store])
    old = workers.start(2)
    workers.wait_until_busy(old)

    new = workers.start(2, release="next")  # the first one runs the expanding migration
    workers.wait_until_busy(new)
    workers.kill(old[0])
    rolled_back = workers.start(1)
    workers.wait_until_busy(rolled_back)
    time.sleep(1)

    workers.stop([old[1], *rolled_back])
    (finishing,) = workers.start(1, release="next", finish_upgrade=True)
    workers.wait_until_printed(finishing, "contract_note")  # it may have nothing to execute, as the others are faster
    (late,) = workers.start(1)
    assert late.process.wait(TIMEOUT) != 0, "the format is not for this release any more"
    assert "can be read from format 2 on" in late.output.read_text()

    seconds = int(time.monotonic() - began)
    workers.wait_for({(name, at + n * SECOND) for name, at in first.items() for n in range(seconds)})
    workers.stop()
    assert not late.executed()
    workers.check_executed_again()
