"""The subjects of the comparison: two versions of pyncette, each on every storage."""

from __future__ import annotations

import functools
import os
import random
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.servers.model import Server
from tests.servers.pool import Pool

from . import round_trips
from .round_trips import RoundTrips

BASELINE = "pyncette[all]==1.1.0"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-west-1"}


@dataclass(frozen=True, slots=True)
class Version:
    name: str
    python: str


THIS = Version("this", sys.executable)


@functools.cache
def baseline() -> Version:
    """1.1.0, in a separate environment that is created if necessary."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyncette-benchmarks" / "1.1.0"
    python = cache / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (cache / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(cache)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", BASELINE], check=True)
        (cache / "complete").touch()
    return Version("1.1.0", str(python))


@dataclass(frozen=True, slots=True)
class Storage:
    """One storage, empty for each measurement.

    :ivar backend: the module under ``pyncette``.
    :ivar options: returns options for an app with a separate part of the storage.
    :ivar round_trips: the server's counter; None if it has none.
    :ivar server: None if the storage has no server.
    """

    name: str
    backend: str
    options: Callable[[], dict[str, Any]]
    round_trips: RoundTrips | None = None
    server: Server | None = None


def fresh() -> str:
    return "bench_" + "".join(random.choices(string.ascii_lowercase, k=12))


def storage(name: str, pool: Pool, scratch: Path) -> Storage:
    """The storage of that name. Starts its server.

    :raises tests.servers.cache.Unavailable: the server is not available here.
    """
    if name == "memory":
        return Storage(name, "memory", dict)
    if name == "sqlite":
        return Storage(
            name,
            "sqlite",
            lambda: {"sqlite_database": str(scratch / f"{fresh()}.db")},
        )
    server = pool.shared(name)
    return replace(_SERVERS[name](server.url), server=server)


def _redis(url: str) -> Storage:
    return Storage("redis", "redis", lambda: {"redis_url": url, "redis_namespace": fresh()}, round_trips.of_redis(url))


def _postgres(url: str) -> Storage:
    return Storage(
        "postgres",
        "postgres",
        lambda: {"postgres_url": url, "postgres_table_name": fresh()},
        round_trips.of_postgres(url),
    )


def _mysql(url: str) -> Storage:
    parts = urlsplit(url)
    fixed = {
        "mysql_host": parts.hostname,
        "mysql_port": parts.port,
        "mysql_user": unquote(parts.username or ""),
        "mysql_password": unquote(parts.password or ""),
        "mysql_database": parts.path.lstrip("/"),
    }
    return Storage("mysql", "mysql", lambda: {**fixed, "mysql_table_name": fresh()}, round_trips.of_mysql(fixed))


def _dynamodb(url: str) -> Storage:
    os.environ.update(CREDENTIALS)
    fixed = {"dynamodb_endpoint": url, "dynamodb_region_name": "eu-west-1"}
    return Storage("dynamodb", "dynamodb", lambda: {**fixed, "dynamodb_table_name": fresh()})


_SERVERS: dict[str, Callable[[str], Storage]] = {
    "redis": _redis,
    "postgres": _postgres,
    "mysql": _mysql,
    "dynamodb": _dynamodb,
}
STORAGES = ("memory", "sqlite", *_SERVERS)
