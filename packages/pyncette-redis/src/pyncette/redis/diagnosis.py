"""What operators learn about the servers: durability, memory, permissions, indexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyncette.errors import RepositoryException
from pyncette.findings import Finding, format_found, share_found

from . import codec
from .client import Client
from .keys import Keys
from .schema import Schema, opened
from .server import configuration_of, durability, info_of
from .settings import Settings
from .wire import Plain, command

CONFIGURATION = ("maxmemory-policy", "save", "appendfsync")

APART = 1_000_000
"""Microseconds by which the clocks of a cluster may differ without a warning."""

MOST_QUEUES = 1_000
"""The maximum number of queues whose indexes are checked."""

LOOKS = 3
"""How often an index that seems inconsistent is checked: it may have changed between two queries."""


async def diagnose(client: Client, keys: Keys, settings: Settings) -> list[Finding]:
    """All checks of all servers. A finding that several servers share is reported once."""
    asked = [command("INFO"), command("TIME"), *(command("CONFIG", "GET", name) for name in CONFIGURATION)]
    servers = await client.masters(asked)
    found = [each for info, _, *more in servers for each in _server(info_of(info), configuration_of(more))]
    found += _clocks([int(seconds) * 1_000_000 + int(rest) for _, (seconds, rest), *_ in servers])
    found += await _format(client, keys, settings)
    found.append(await _indexes(client, keys))
    return list(dict.fromkeys(found))


def _server(info: Mapping[str, str], configuration: Mapping[str, str]) -> Iterator[Finding]:
    if not info:
        yield Finding("server", "unknown", "the user may not ask it what it does", "allow +info")
        return
    name = "Valkey" if "valkey_version" in info else "Redis"
    yield Finding("server", "ok", f"{name} {info.get('valkey_version') or info.get('redis_version', '')}")
    yield from _durability(info, configuration)
    yield _memory(info)
    clients, most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    yield share_found(
        "connections",
        clients,
        most,
        f"{clients:,} clients of {most:,}",
        "raise maxclients, or lower max_connections in redis_url",
    )


def _durability(info: Mapping[str, str], configuration: Mapping[str, str]) -> Iterator[Finding]:
    found = list(durability(info, configuration))
    checks = {finding.check for finding in found}
    yield from found
    if "eviction" not in checks:
        yield Finding("eviction", "ok", f"none of tasks (maxmemory-policy {info.get('maxmemory_policy', '')})")
    failed = [
        what
        for field, what in (
            ("aof_last_write_status", "the last write of the append-only file"),
            ("rdb_last_bgsave_status", "the last snapshot"),
        )
        if info.get(field, "ok") != "ok"
    ]
    if failed:
        yield Finding("persistence", "problem", f"{' and '.join(failed)} failed", "see the server's log, and its disk")
    elif "persistence" not in checks:
        sync = configuration.get("appendfsync", "")
        if sync == "no":
            yield Finding(
                "persistence", "warning", "appendfsync no: half a minute may be lost", "set appendfsync everysec"
            )
        else:
            yield Finding("persistence", "ok", f"append-only file{f', appendfsync {sync}' if sync else ''}")


def _memory(info: Mapping[str, str]) -> Finding:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    found = f"{used / 2**20:,.0f} MB" + (f" of {most / 2**20:,.0f} MB" if most else ", without a maxmemory")
    if most and used >= most:
        return Finding("memory", "problem", f"{found}: it takes no new instances", "raise maxmemory")
    return share_found("memory", used, most, found, "raise maxmemory")


def _clocks(times: Sequence[int]) -> list[Finding]:
    """Compares the clocks of a cluster. The replies arrived one after another, so only larger differences count."""
    if len(times) < 2 or max(times) - min(times) <= APART:
        return []
    apart = f"the clocks of its servers differ by {(max(times) - min(times)) / 1e6:.1f} s"
    return [Finding("clock", "warning", apart, "synchronise them by NTP")]


async def _format(client: Client, keys: Keys, settings: Settings) -> list[Finding]:
    """Whether the user may run every command, and which format the namespace has."""
    schema = Schema.of(settings)
    try:
        text = await opened(client, keys, settings, schema)
    except RepositoryException as error:
        return [Finding("permissions", "problem", str(error), "see the page of Redis in the documentation")]
    permitted = Finding("permissions", "ok", "the user may run all that is needed")
    return [permitted, format_found(schema.stored(text), schema.steps)]


async def _indexes(client: Client, keys: Keys) -> Finding:
    """Whether each dynamic queue has as many records in its index by time as by name."""
    limit = ("LIMIT", "0", str(MOST_QUEUES))
    names = await client.plain(keys.static.slot, "ZRANGEBYLEX", keys.queues_name, "-", "+", *limit)
    suspects = [codec.decoded(name) for name in names]
    for _ in range(LOOKS):
        suspects = [queue for queue in suspects if await _differ(client, keys, queue)]
    if suspects:
        return Finding(
            "indexes",
            "problem",
            f"the index by time of {', '.join(map(repr, suspects[:5]))} does not have all instances, or too many",
            "export, unschedule and import the instances of these tasks",
        )
    return Finding("indexes", "ok", f"those of {len(names):,} tasks and partitions are complete")


async def _differ(client: Client, keys: Keys, queue: str) -> bool:
    slot = keys.slot(queue)
    counts: list[Any] = await client.all(
        [Plain(slot, ("ZCOUNT", name, "-inf", "+inf")) for name in (keys.ready_name(queue), keys.order_name(queue))]
    )
    return bool(counts[0] != counts[1])
