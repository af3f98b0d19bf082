"""Ten seconds of endurance on each store, and unit tests of the judge."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest

from tests.chaos.stores import started
from tests.helpers import dynamodb
from tests.servers.plugin import StartServer

from .__main__ import STORES
from .judge import LIMITS, MEGABYTE, Series
from .working import Effort, work

SLOW = {"dynamodb": 20}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", STORES)
def test_nothing_grows(name: str, start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dynamodb.credentials(monkeypatch)
    with started(name, start_server, tmp_path) as store:
        found = anyio.run(work, Effort(10, instances=SLOW.get(name, 200)), store, tmp_path)
    assert {series.kind for series in found} == set(LIMITS) - {"bytes"}
    assert min(len(series.points) for series in found) >= 3  # a busy machine takes few measurements
    assert not [str(series) for series in found if series.grows]


def measured(grown: float) -> Series:
    """About a hundred megabytes, with noise, that grow by this many bytes over the second half."""
    rng = random.Random(1)
    noise = (rng.uniform(-MEGABYTE, MEGABYTE) for _ in range(200))
    return Series("memory", "worker", [(n, 100 * MEGABYTE + n * grown / 100 + each) for n, each in enumerate(noise)])


@pytest.mark.parametrize("megabytes, grows", [(-10, False), (0, False), (1, False), (6, True), (50, True)])
def test_the_slope_of_the_second_half(megabytes: int, grows: bool) -> None:
    assert measured(megabytes * MEGABYTE).grows is grows


def test_what_grows_at_first_only() -> None:
    """Like the memory of a process that is warming up."""
    points = [(n, 100 * MEGABYTE * min(n / 40, 1)) for n in range(100)]
    assert not Series("memory", "worker", points).grows


def test_a_descriptor_each_now_and_then() -> None:
    assert Series("descriptors", "worker", [(n, 20 + n // 10) for n in range(100)]).grows
