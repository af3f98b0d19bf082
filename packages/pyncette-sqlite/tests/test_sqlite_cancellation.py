"""Cancelled at every point where the driver waits, on asyncio and through the bridge."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pyncette.sqlite import sqlite_repository
from pyncette.testing.cancellation import Target, cancel_everywhere

WAITING: tuple[Target, ...] = (
    "read",
    "swap",
    "look",
    "scan",
    "scan_ready",
    "queues",
    "count",
    "claim",
)  # clock() never waits


async def test_file(tmp_path: Path) -> None:
    points = await cancel_everywhere(partial(sqlite_repository, sqlite_database=tmp_path / "pyncette.db"))
    assert all(points[name] for name in WAITING)
    assert points["open"] >= 4
    assert points["close"] >= 2


async def test_in_memory() -> None:
    points = await cancel_everywhere(sqlite_repository)
    assert all(points[name] for name in WAITING)
