"""What is checked before a repository is used: the server's kind, the user's permissions, and whose data it holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from redis.exceptions import NoPermissionError, ResponseError

from . import scripts
from .client import Client
from .failures import Failures
from .keys import Keys
from .options import Mode, Settings
from .wire import Call, bulk, command, load

logger: logging.Logger = logging.getLogger(__name__)

SCHEMA = 2
"""Version of what is stored. Version 1, that of pyncette 1.1.0, left no mark."""

OLDEST_REDIS = 7
NEEDED = f"Redis {OLDEST_REDIS} or newer, or Valkey"

_PROBES = (
    ("HSET", "{key}", "f", "v"),
    ("HMGET", "{key}", "f"),
    ("HDEL", "{key}", "f"),
    ("ZADD", "{key}", "0", "m"),
    ("ZREM", "{key}", "m"),
    ("ZCOUNT", "{key}", "0", "1"),
    ("ZMSCORE", "{key}", "m"),
    ("ZRANGEBYSCORE", "{key}", "0", "1"),
    ("ZRANGEBYLEX", "{key}", "-", "+"),
    ("GET", "{key}"),
    ("SET", "{key}", "v"),
    ("EXISTS", "{key}"),
    ("TIME",),
)


async def start(client: Client, keys: Keys, settings: Settings, failures: Failures) -> int:
    """
    :return: how many bytes an argument of a command may have.
    :raises RepositoryException: the server can't be used as it is, or as the options say.
    :raises RepositoryUnavailableException: it can't be reached.
    :raises StorageVersionException: the namespace holds data of another version.
    """
    commands = [command("HELLO"), command("INFO", "memory"), command("INFO", "persistence")]
    settings_asked = [command("CONFIG", "GET", name) for name in _CONFIGURATION]
    loaded = [load(script) for script in scripts.ALL]
    largest = DEFAULT_BULK
    warnings: set[str] = set()
    for hello, memory, persistence, *more in await client.masters([*commands, *settings_asked, *loaded]):
        check_server(hello, settings)
        configuration = _configuration(more[: len(_CONFIGURATION)])
        for reply in more[len(_CONFIGURATION) :]:
            if isinstance(reply, ResponseError):
                raise failures.translate(reply) from reply
        warnings.update(_warnings(_info(memory), _info(persistence), configuration))
        largest = min(largest, int(configuration.get("proto-max-bulk-len", DEFAULT_BULK)))
    for warning in sorted(warnings):
        logger.warning("Redis at %s %s", settings.address, warning)
    await _check_namespace(client, keys, settings)
    return largest


DEFAULT_BULK = 512 * 1024 * 1024
_CONFIGURATION = ("maxmemory-policy", "save", "proto-max-bulk-len")


def check_server(hello: Any, settings: Settings) -> None:
    """A server that keeps its kind to itself is believed to be the right one."""
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


def _info(reply: Any) -> Mapping[str, str]:
    """The fields of an INFO, none if that is not permitted."""
    if isinstance(reply, ResponseError):
        return {}
    pairs = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, _, value in pairs}


def _configuration(replies: Sequence[Any]) -> Mapping[str, str]:
    """Settings of the server, as far as the user may see them; hosted servers often hide them."""
    found: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, list) and len(reply) == 2:
            found[reply[0].decode()] = reply[1].decode()
    return found


def _warnings(
    memory: Mapping[str, str], persistence: Mapping[str, str], configuration: Mapping[str, str]
) -> Iterator[str]:
    """What may lose data."""
    policy = memory.get("maxmemory_policy") or configuration.get("maxmemory-policy", "")
    if policy.startswith("allkeys-"):
        yield (
            f"has the maxmemory-policy {policy}: when it reaches its maxmemory, it may evict tasks, which are lost "
            "then without a trace. Use noeviction."
        )
    if persistence.get("aof_enabled") != "0":
        return
    if configuration.get("save") == "":
        yield "persists nothing (appendonly no, save ''): when it restarts, all dynamic instances are lost."
    else:
        yield (
            "keeps no append-only file (appendonly no): a restart takes it back to its last snapshot. What was "
            "scheduled since then is lost, and what was executed since then is executed again."
        )


async def _check_namespace(client: Client, keys: Keys, settings: Settings) -> None:
    key = keys.marker
    names = [key] if settings.mode is Mode.CLUSTER else [key, keys.legacy()]  # version 1 did not know clusters
    arguments = [str(SCHEMA)]
    for probe in _PROBES:
        arguments += [str(len(probe)), *(word.format(key=key) for word in probe)]
    call = Call(
        scripts.OPEN,
        keys.static.slot,
        [bulk(name.encode()) for name in names],
        [bulk(argument.encode()) for argument in arguments],
        len(arguments),
    )
    found = (await client.one(call)).decode()
    if found.startswith("forbidden "):
        raise RepositoryException(
            f"The user may not run all that Pyncette needs on Redis at {settings.address}; not permitted on the key "
            f"{key!r}: {found.removeprefix('forbidden ')}. The documentation has the ACL rule to set."
        )
    if found == "legacy":
        raise legacy_data(settings.namespace)
    if found != "ok":
        raise StorageVersionException(
            f"The Redis namespace {settings.namespace!r} holds data of another version of Pyncette (schema "
            f"{found[:20]}, this version has {SCHEMA}); it was left as it is. Use that version, or another "
            "redis_namespace."
        )


def legacy_data(namespace: str) -> StorageVersionException:
    return StorageVersionException(
        f"The Redis namespace {namespace!r} holds data of pyncette 1 (keys pyncette:{namespace}:…), which this version "
        "can't read; it was left as it is. Set redis_namespace to a new name, for example "
        f"{f'{namespace}-v2' if namespace else 'v2'!r}, and schedule dynamic instances again there; static tasks come "
        "by themselves. When nothing of version 1 runs any more, delete its keys."
    )
