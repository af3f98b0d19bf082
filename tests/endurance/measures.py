"""Measures what a worker and a store use at the moment."""

from __future__ import annotations

import os
import re
from pathlib import Path

import asyncpg

from pyncette import PyncetteContext
from tests.chaos.stores import Store
from tests.chaos.worker import Declared
from tests.servers.model import Server
from tests.servers.process import Program
from tests.servers.redis import command

_RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")


def of_worker(pid: int) -> dict[str, float]:
    """Memory in bytes, the number of descriptors, and of those that are connections."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(descriptor))
        except FileNotFoundError:  # it was closed in the meantime
            continue
    resident = _RESIDENT.search(Path(f"/proc/{pid}/status").read_text())
    assert resident is not None
    return {
        "memory": int(resident[1]) * 1024,
        "descriptors": len(links),
        "connections": sum(link.startswith("socket:") for link in links),
    }


async def records(context: PyncetteContext, declared: Declared) -> float:
    """The number of stored instances."""
    return sum([(await context.count_tasks(template)).value for template in declared.templates])


async def stored_bytes(store: Store, folder: Path) -> float:
    """The size of the data: in memory for Redis, on disk otherwise. ``folder`` contains SQLite's files."""
    server = store.server
    if server is None:
        return _files(folder, "pyncette.db*")
    if store.name == "redis":
        return int(re.findall(r"used_memory:(\d+)", command(server.port, "INFO", "memory"))[0])
    if store.name == "postgres":
        return await _of_postgres(server)
    assert isinstance(server.control, Program)
    return _files(server.control.folder, "data/test/*.ibd" if store.name == "mysql" else "*.db")


def _files(folder: Path, pattern: str) -> float:
    return sum(path.stat().st_size for path in folder.glob(pattern))


async def _of_postgres(server: Server) -> float:
    connection = await asyncpg.connect(f"{server.url}?sslmode=disable")
    try:
        return float(
            await connection.fetchval(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
                " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        )
    finally:
        await connection.close()
