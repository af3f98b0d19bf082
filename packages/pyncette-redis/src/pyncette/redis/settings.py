"""The options of the backend, checked before connecting. No message repeats the URL, as it may contain a password."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pyncette.checks import check_flag
from redis.asyncio.connection import parse_url

from .keys import check_namespace

DEFAULT_TIMEOUT = 5.0
LONGEST_TIMEOUT = 3_600
DEFAULT_CONNECTIONS = 10
DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379

_EXAMPLE = "redis://user:password@host:6379/0"
_PARAMETERS = ("db", "username", "password", "client_name", "max_connections", "socket_keepalive")
_SENTINEL_PARAMETERS = ("sentinel_username", "sentinel_password")
_OURS = {
    "socket_timeout": "use redis_timeout",
    "socket_connect_timeout": "use redis_timeout",
    "timeout": "use redis_timeout",
    "retry_on_timeout": "Pyncette decides itself what may be retried",
    "retry_on_error": "Pyncette decides itself what may be retried",
    "protocol": "Pyncette needs one of its own",
    "decode_responses": "Pyncette needs one of its own",
    "encoding": "Pyncette needs one of its own",
    "encoding_errors": "Pyncette needs one of its own",
}


class Mode(enum.Enum):
    """How the data is spread over servers."""

    SINGLE = "single"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


@dataclass(frozen=True, slots=True)
class Settings:
    """All options, checked.

    :ivar hosts: the addresses in the URL: of the server, of some servers of the cluster, or of the sentinels.
    :ivar timeout: seconds that a call may take in total.
    :ivar connection: further arguments of the driver's connections.
    :ivar sentinel: further arguments of connections to sentinels.
    :ivar finish_upgrade: whether to run migrations after which older releases can't use the namespace.
    """

    mode: Mode
    hosts: tuple[tuple[str, int], ...]
    namespace: str
    timeout: float
    service: str | None
    connections: int
    connection: Mapping[str, Any] = field(repr=False)
    sentinel: Mapping[str, Any] = field(repr=False)
    finish_upgrade: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must not appear in messages."""
        passwords = [
            self.connection.get("password"),
            self.connection.get("ssl_password"),
            self.sentinel.get("password"),
        ]
        return tuple(password for password in passwords if password)

    @property
    def address(self) -> str:
        """Where the data is, for messages."""
        if "path" in self.connection:
            return str(self.connection["path"])
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.service!r} of the sentinels {hosts}" if self.mode is Mode.SENTINEL else hosts


def check(
    *,
    redis_url: object,
    redis_namespace: object,
    redis_timeout: object,
    redis_mode: object,
    redis_sentinel_service: object,
    finish_upgrade: object = False,
) -> Settings:
    """
    :raises TypeError: an option has the wrong type.
    :raises ValueError: an option has an impossible value, or two don't go together.
    """
    namespace, timeout = check_namespace(redis_namespace), _timeout(redis_timeout)
    mode = _mode(redis_mode)
    check_flag("finish_upgrade", finish_upgrade)
    service = _service(redis_sentinel_service, mode)
    if not isinstance(redis_url, str):
        raise TypeError(f"redis_url must be a string such as {_EXAMPLE!r}, not {type(redis_url).__name__}.")
    hosts, connection = _parse(redis_url, mode)
    sentinel = {name.removeprefix("sentinel_"): connection.pop(name, None) for name in _SENTINEL_PARAMETERS}
    connections = connection.pop("max_connections", DEFAULT_CONNECTIONS)
    if connections < 1:
        raise ValueError("max_connections in redis_url must be at least 1.")
    if mode is Mode.CLUSTER and connection.pop("db", 0):
        raise ValueError("A Redis Cluster has the database 0 only: remove the number behind the host in redis_url.")
    return Settings(mode, hosts, namespace, timeout, service, connections, connection, sentinel, bool(finish_upgrade))


def options_from_url(url: str) -> dict[str, Any]:
    """
    The options in a URL. Mode, namespace and timeout are not part of it.

    :raises ValueError: the URL can't be understood.
    """
    scheme, _, hosts, rest = _split(url)
    _check_query(rest, tls=scheme == "rediss", sentinels=True)  # the mode is not known yet
    _addresses(hosts, DEFAULT_PORT)
    return {"redis_url": url}


def _timeout(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"redis_timeout must be a number of seconds, not {type(value).__name__}.")
    if not 0 < value <= LONGEST_TIMEOUT:
        shown = f"{value}" if abs(value) < 1e9 else "that large a number"  # Python may refuse to print that many digits
        raise ValueError(f"redis_timeout must be more than 0 and at most {LONGEST_TIMEOUT:,} seconds, not {shown}.")
    return float(value)


def _mode(value: object) -> Mode:
    try:
        return Mode(value)
    except ValueError:
        modes = ", ".join(repr(mode.value) for mode in Mode)
        raise ValueError(f"redis_mode must be one of {modes}, not {value!r}.") from None


def _service(value: object, mode: Mode) -> str | None:
    if mode is Mode.SENTINEL:
        if not isinstance(value, str) or not value:
            raise ValueError(
                "redis_mode='sentinel' needs redis_sentinel_service: the name under which the sentinels know the "
                "master, for example 'mymaster'."
            )
        return value
    if value is not None:
        raise ValueError("redis_sentinel_service goes with redis_mode='sentinel' only: give both or none.")
    return None


def _parse(url: str, mode: Mode) -> tuple[tuple[tuple[str, int], ...], dict[str, Any]]:
    scheme, login, hosts, rest = _split(url)
    if scheme == "unix" and mode is not Mode.SINGLE:
        raise ValueError(f"redis_mode={mode.value!r} needs hosts in redis_url; unix:// names a socket of this machine.")
    if len(hosts) > 1 and mode is Mode.SINGLE:
        raise ValueError(
            "redis_url names several hosts, which goes with redis_mode='cluster' or redis_mode='sentinel' only."
        )
    _check_query(rest, tls=scheme == "rediss", sentinels=mode is Mode.SENTINEL)
    default = DEFAULT_SENTINEL_PORT if mode is Mode.SENTINEL else DEFAULT_PORT
    try:
        parsed: dict[str, Any] = dict(parse_url(f"{scheme}://{login}{hosts[0]}{rest}"))
        addresses = _addresses(hosts, default)
    except ValueError as error:
        if "connection URL" in str(error):  # this message names the parameter, but not its value
            raise ValueError(f"redis_url can't be understood: {error}") from None
        raise _unreadable() from None
    parsed.pop("host", None)
    parsed.pop("port", None)
    return addresses, parsed


def _split(url: str) -> tuple[str, str, list[str], str]:
    """The parts of a URL: scheme, login with its `@`, hosts, and the rest from the path on."""
    scheme, separator, after = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"redis_url must begin with redis://, or rediss:// for TLS, or unix://; write {_EXAMPLE!r}.")
    end = min((at for at in map(after.find, "/?#") if at >= 0), default=len(after))
    login, at_sign, hosts = after[:end].rpartition("@")
    rest = after[end:]
    if "#" in rest or (scheme != "unix" and not at_sign and "@" in rest):
        raise _unreadable()  # part of a password may be taken for the host, so nothing of it is repeated
    path = rest.partition("?")[0].strip("/")
    if scheme != "unix" and path and not path.isdecimal():
        raise ValueError(f"The path in redis_url must be the number of a database, as in {_EXAMPLE!r}.")
    return scheme, login + at_sign, hosts.split(","), rest


def _unreadable() -> ValueError:
    return ValueError(
        f"redis_url can't be understood. Write {_EXAMPLE!r}, and percent-encode what is not a letter or digit in the "
        "user and the password: urllib.parse.quote(password, safe='')."
    )


def _addresses(hosts: list[str], default_port: int) -> tuple[tuple[str, int], ...]:
    try:
        parts = [urlsplit(f"//{host}") for host in hosts]
        return tuple((part.hostname or "localhost", part.port or default_port) for part in parts)
    except ValueError:
        raise _unreadable() from None


def _check_query(rest: str, *, tls: bool, sentinels: bool) -> None:
    known = _PARAMETERS + (_SENTINEL_PARAMETERS if sentinels else ())
    for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True):
        if name.startswith("ssl_"):
            if not tls:
                raise ValueError(f"{name} in redis_url goes with rediss:// only.")
        elif name in _OURS:
            raise ValueError(f"redis_url can't have the parameter {name!r}: {_OURS[name]}.")
        elif name not in known:
            raise ValueError(f"redis_url has the unknown parameter {name!r}; known are {', '.join(known)} and ssl_….")
