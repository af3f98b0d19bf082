"""Servers that are run elsewhere, named by environment variables."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from .cache import Unavailable
from .model import Server

TIMEOUT_SECONDS = 5.0


class Unreachable(Unavailable):
    """An address was given and nothing answers there: a mistake, never a reason to skip."""


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The control of a server that the tests must not stop: skips any test that needs it."""

    variable: str

    def start(self) -> None:
        self._skip()

    def stop(self, *, kill: bool = False) -> None:
        self._skip()

    def pause(self) -> None:
        self._skip()

    def resume(self) -> None:
        self._skip()

    def discard(self) -> None:
        self._skip()

    def _skip(self) -> None:
        import pytest  # here, so that developers can start servers without it

        pytest.skip(f"the server that {self.variable} names is not stopped by tests")


def variable(kind: str) -> str:
    """Return the name of the variable that may hold the address of a server of this kind."""
    suffix = "ENDPOINT" if kind == "dynamodb" else "URL"
    return f"PYNCETTE_TEST_{kind.upper().replace('-', '_')}_{suffix}"


def given(kind: str) -> bool:
    """Say whether the environment names a server of this kind."""
    return bool(os.environ.get(variable(kind)))


def server(kind: str) -> Server | None:
    """Return the server that the environment names, None if it names none.

    Several hosts are separated by commas: redis://host:port,host:port (cluster) and
    redis+sentinel://host:port,host:port/service (sentinels).

    :raises Unreachable: the address is malformed, or nobody answers there.
    """
    if not given(kind):
        return None
    name = variable(kind)
    try:
        return _parse(kind, os.environ[name], NotOurs(name))
    except ValueError as error:
        raise Unreachable(f"{name} is no scheme://user:password@host:port/database: {error}") from None


def _parse(kind: str, url: str, control: NotOurs) -> Server:
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    addresses = [_address(host) for host in hosts.split(",")]
    user, _, password = (unquote(part) for part in login.partition(":"))
    host, port = addresses[0]
    _await(control.variable, host, port)
    members = tuple(Server(kind, f"redis://{host}:{port}", host, port, control) for host, port in addresses)
    sentinel = scheme == "redis+sentinel"
    return Server(
        kind,
        url,
        host,
        port,
        control,
        user or None,
        password or None,
        None if sentinel else path.partition("?")[0] or None,
        nodes=members if kind.endswith("cluster") else (),
        sentinels=members if sentinel else (),
        service=path if sentinel else None,
    )


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or not parts.port:
        raise ValueError(f"host or port is missing in {text!r}")
    return parts.hostname, parts.port


def _await(name: str, host: str, port: int) -> None:
    """Wait until somebody listens: containers that were just started may take a moment."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=TIMEOUT_SECONDS).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise Unreachable(f"{name} names {host}:{port}, where nobody answers: {error}") from None
            time.sleep(0.2)
        else:
            return
