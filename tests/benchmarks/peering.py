"""Measures other schedulers and queues and this one with the same empty jobs, on the same server, in one run.

Each runs in a separate environment, configured for speed as its documentation advises. ``burst``: all jobs are overdue;
``spread``: 200 jobs come due over ten seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.servers.cache import Unavailable
from tests.servers.model import Server
from tests.servers.pool import Pool

from .machine import cpu_of

PROGRAMS = Path(__file__).with_name("peers")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyncette-benchmarks" / "peers"
SPREAD = 200
TIME_LIMIT = 90
"""Seconds after which a measurement is abandoned."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another scheduler or queue.

    :ivar program: the name of its program in the folder ``peers``.
    :ivar servers: the kinds of servers that it supports.
    :ivar packages: the packages of its environment: Python's or, for a program on Node, npm's.
    :ivar jobs: the number of jobs in a burst.
    """

    name: str
    program: str
    servers: tuple[str, ...]
    packages: tuple[str, ...] = ()
    jobs: int = 1_000


POSTGRES, REDIS = "postgres", "redis"
PEERS = (
    Peer("pyncette", "with_pyncette.py", (POSTGRES, REDIS), jobs=20_000),
    Peer(
        "APScheduler 3",
        "with_apscheduler.py",
        (POSTGRES, REDIS),
        ("apscheduler>=3.10,<4", "sqlalchemy", "psycopg[binary]", "redis"),
    ),
    Peer("procrastinate", "with_procrastinate.py", (POSTGRES,), ("procrastinate", "psycopg[binary,pool]")),
    Peer("graphile-worker", "with_graphile_worker.cjs", (POSTGRES,), ("graphile-worker",), jobs=20_000),
    Peer("pg-boss", "with_pg_boss.cjs", (POSTGRES,), ("pg-boss",), jobs=10_000),
    Peer("docket", "with_docket.py", (REDIS,), ("pydocket",)),
    Peer("arq", "with_arq.py", (REDIS,), ("arq",)),
    Peer("taskiq", "with_taskiq.py", (REDIS,), ("taskiq", "taskiq-redis")),
    Peer("rq-scheduler", "with_rq_scheduler.py", (REDIS,), ("rq", "rq-scheduler")),
    Peer("Celery and RedBeat", "with_redbeat.py", (REDIS,), ("celery[redis]", "celery-redbeat", "packaging")),
    Peer("BullMQ", "with_bullmq.cjs", (REDIS,), ("bullmq", "ioredis"), jobs=10_000),
)


def installed(peer: Peer) -> list[str]:
    """The command that runs its program, in an environment that is created if necessary.

    :raises Unavailable: it is not available here.
    """
    if not peer.packages:
        return [sys.executable]
    folder = CACHE / peer.program.partition(".")[0].removeprefix("with_")
    on_node = peer.program.endswith(".cjs")
    if on_node and not (shutil.which("node") and shutil.which("npm")):
        raise Unavailable("it needs node and npm")
    python = str(folder / "bin" / "python")
    if not (folder / "complete").exists():
        try:
            if on_node:
                folder.mkdir(parents=True, exist_ok=True)
                command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
                subprocess.run([*command, *peer.packages], check=True)
            else:
                subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
                subprocess.run([python, "-m", "pip", "install", "--quiet", *peer.packages], check=True)
        except subprocess.CalledProcessError as error:
            raise Unavailable("its packages can't be installed") from error
        (folder / "complete").touch()
    if on_node:
        os.environ["NODE_PATH"] = str(folder / "node_modules")
        return ["node"]
    return [python]


@contextmanager
def database(server: Server) -> Iterator[str]:
    """The URL of an empty database, which is dropped in the end."""
    if server.kind == REDIS:
        import redis

        with redis.Redis.from_url(server.url) as client:
            client.flushall()
            yield f"{server.url.rstrip('/').removesuffix('/0')}/0"
            client.flushall()
        return
    name = f"peer_{uuid.uuid4().hex}"
    asyncio.run(_execute(server.url, f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(server.url)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_execute(server.url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def measure(peer: Peer, server: Server, jobs: int, mode: str) -> dict[str, float]:
    """Let a peer schedule and execute this many jobs.

    :raises RuntimeError: it failed.
    """
    command = [*installed(peer), str(PROGRAMS / peer.program)]
    with database(server) as url:
        process = subprocess.Popen(
            [*command, url, str(jobs), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(process.communicate()[1][-500:])
            cpu = cpu_of(server)
            said, failed = process.communicate("begin\n", timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"it has not executed {jobs} jobs within {TIME_LIMIT} s") from error
        finally:
            process.kill()
            process.wait()
        figures = [line for line in said.splitlines() if line.startswith("{")]
        if not figures:
            raise RuntimeError(failed[-500:])
        found: dict[str, float] = json.loads(figures[-1])
        return {**found, "server": cpu_of(server) - cpu}


def figures(peer: Peer, server: Server) -> dict[str, float]:
    """Executions per second, microseconds of CPU of client and server for each, and the median lateness in ms."""
    burst = measure(peer, server, peer.jobs, "burst")
    spread = measure(peer, server, SPREAD, "spread")
    return {
        "fires/s": burst["count"] / burst["seconds"],
        "client us": 1e6 * burst["cpu"] / burst["count"],
        "server us": 1e6 * burst["server"] / burst["count"],
        "lag ms": 1e3 * spread["lag"],
    }


def compare(pool: Pool, names: list[str] | None = None) -> dict[str, Any]:
    """Measure all peers, or those whose names start with one of these. Prints and returns the figures."""
    report: dict[str, Any] = {}
    print(f"{'server':10} {'':20} {'fires/s':>10} {'CPU client':>12} {'CPU server':>12} {'lag p50':>12}")
    for kind in (POSTGRES, REDIS):
        for peer in PEERS:
            if kind not in peer.servers or not any(
                peer.name.lower().startswith(name.lower()) for name in names or [""]
            ):
                continue
            try:
                row = figures(peer, pool.shared(kind))
            except (Unavailable, RuntimeError) as error:
                print(f"{kind:10} {peer.name:20} {error}", flush=True)
                continue
            report[f"{kind}: {peer.name}"] = row
            values = (
                f"{row['fires/s']:10,.0f} {row['client us']:9.0f} us {row['server us']:9.0f} us {row['lag ms']:9.1f} ms"
            )
            print(f"{kind:10} {peer.name:20} {values}", flush=True)
    return report
