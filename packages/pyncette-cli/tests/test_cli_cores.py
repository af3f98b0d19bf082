"""`pyncette run --workers 2` on PostgreSQL: a burst is shared by both processes, and each instance executed once.

The speedup depends on the number of free cores: `python -m tests.benchmarks.cores` measures it.
"""

from collections.abc import Iterator

import pytest

from tests.helpers import postgres
from tests.helpers.burst import burst
from tests.helpers.terminal import Place
from tests.servers.model import Server

pytestmark = pytest.mark.timeout(300)

COUNT = 1500


@pytest.fixture
def table(postgres_server: Server) -> Iterator[str]:
    with postgres.table(postgres_server.url) as name:
        yield name


def test_two_workers_share_a_burst(place: Place, postgres_server: Server, table: str) -> None:
    done = burst(place, postgres_server.url, table, workers=2, count=COUNT)
    assert len(done.by_process) == 2
    assert min(done.by_process.values()) > COUNT / 5
    assert set(done.by_instance.values()) == {1}
