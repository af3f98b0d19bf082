"""Checks of a server before it is used: its kind, version and settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.findings import Finding
from redis.exceptions import NoPermissionError, ResponseError

from . import scripts
from .client import Client
from .errors import Failures
from .settings import Mode, Settings
from .wire import command, load

logger: logging.Logger = logging.getLogger(__name__)

OLDEST_REDIS = 7
NEEDED = f"Redis {OLDEST_REDIS} or newer, or Valkey"

PROBES = (
    # the commands that the user must be allowed to run; "{key}" stands for one of Pyncette's keys
    ("HSET", "{key}", "f", "v"),
    ("HMGET", "{key}", "f"),
    ("HDEL", "{key}", "f"),
    ("ZADD", "{key}", "0", "m"),
    ("ZREM", "{key}", "m"),
    ("ZRANK", "{key}", "m"),
    ("ZRANGE", "{key}", "0", "1"),
    ("ZCOUNT", "{key}", "0", "1"),
    ("ZMSCORE", "{key}", "m"),
    ("ZRANGEBYSCORE", "{key}", "0", "1"),
    ("ZRANGEBYLEX", "{key}", "-", "+"),
    ("GET", "{key}"),
    ("SET", "{key}", "v"),
    ("EXISTS", "{key}"),
    ("DEL", "{key}"),
    ("TIME",),
)


async def check(client: Client, settings: Settings, failures: Failures) -> int:
    """
    :return: the maximum size of a command's argument in bytes.
    :raises RepositoryException: the server can't be used, or not with these options.
    :raises RepositoryUnavailableException: the server can't be reached.
    """
    commands = [command("HELLO"), command("INFO", "memory"), command("INFO", "persistence")]
    settings_asked = [command("CONFIG", "GET", name) for name in _CONFIGURATION]
    loaded = [load(script) for script in scripts.ALL]
    largest = DEFAULT_BULK
    warnings: set[Finding] = set()
    for hello, memory, persistence, *more in await client.masters([*commands, *settings_asked, *loaded]):
        check_server(hello, settings)
        configuration = configuration_of(more[: len(_CONFIGURATION)])
        for reply in more[len(_CONFIGURATION) :]:
            if isinstance(reply, ResponseError):
                raise failures.translate(reply) from reply
        warnings.update(durability({**info_of(memory), **info_of(persistence)}, configuration))
        largest = min(largest, int(configuration.get("proto-max-bulk-len", DEFAULT_BULK)))
    for warning in sorted(warnings, key=lambda finding: finding.check):
        logger.warning("Redis at %s: %s; %s.", settings.address, warning.found, warning.advice)
    return largest


DEFAULT_BULK = 512 * 1024 * 1024
_CONFIGURATION = ("maxmemory-policy", "save", "proto-max-bulk-len")


def check_server(hello: Any, settings: Settings) -> None:
    """A server that doesn't tell its kind is assumed to be the right one."""
    if isinstance(hello, NoPermissionError):
        return
    where = f"Redis at {settings.address}"
    if isinstance(hello, ResponseError):
        raise RepositoryException(f"{where} is too old: Pyncette needs {NEEDED}. {hello}") from hello
    about = {hello[i].decode(): hello[i + 1] for i in range(0, len(hello), 2)}
    mode, role = about.get("mode", b"").decode(), about.get("role", b"").decode()
    version = about.get("version", b"").decode()
    if mode == "sentinel" and settings.mode is not Mode.SENTINEL:
        raise RepositoryException(
            f"What answers at {settings.address} is a sentinel: use redis_mode='sentinel' with its service, "
            "or the address of the server itself."
        )
    if mode == "cluster" and settings.mode is not Mode.CLUSTER:
        raise RepositoryException(f"{where} belongs to a cluster: use redis_mode='cluster'.")
    if role not in ("", "master"):
        if settings.mode is Mode.SENTINEL:
            raise RepositoryUnavailableException(f"{where} is a replica for now; a failover seems to be under way.")
        raise RepositoryException(
            f"{where} is a replica, which takes no writes: use the address of its master, or redis_mode='sentinel'."
        )
    if about.get("server") == b"redis" and int(version.partition(".")[0] or 0) < OLDEST_REDIS:
        raise RepositoryException(f"{where} is Redis {version}; Pyncette needs {NEEDED}.")


def info_of(reply: Any) -> Mapping[str, str]:
    """The fields of an INFO; empty if the user may not run it."""
    if isinstance(reply, ResponseError):
        return {}
    pairs = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, _, value in pairs}


def configuration_of(replies: Sequence[Any]) -> Mapping[str, str]:
    """The settings of the server that the user may see; hosted servers often hide them."""
    found: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, list) and len(reply) == 2:
            found[reply[0].decode()] = reply[1].decode()
    return found


def durability(info: Mapping[str, str], configuration: Mapping[str, str]) -> Iterator[Finding]:
    """Settings that may lose data.

    :param info: fields of INFO; empty if the user may not see them.
    """
    policy = info.get("maxmemory_policy") or configuration.get("maxmemory-policy", "")
    if policy.startswith("allkeys-"):
        yield Finding(
            "eviction",
            "problem",
            f"maxmemory-policy {policy}: when the server reaches its maxmemory, it may evict tasks, which are lost "
            "then without a trace",
            "use noeviction",
        )
    if info.get("aof_enabled") != "0":
        return
    if configuration.get("save") == "":
        yield Finding(
            "persistence",
            "problem",
            "the server persists nothing (appendonly no, save ''): when it restarts, all dynamic instances are lost",
            "set appendonly yes",
        )
    else:
        yield Finding(
            "persistence",
            "warning",
            "there is no append-only file (appendonly no): a restart takes the server back to its last snapshot. What "
            "was scheduled since then is lost, and what was executed since then is executed again",
            "set appendonly yes",
        )
