"""Redis and Valkey: single servers."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .model import Server
from .process import HOST, Program, Session
from .trees import Tree

REDIS_7 = Tree("redis", "bookworm", ("redis-server", "redis-tools"))
REDIS_8 = Tree("redis8", "sid", ("redis-server", "redis-tools"))
VALKEY = Tree("valkey", "sid", ("valkey-server", "valkey-tools"))

COMMON = {
    "bind": HOST,
    "save": '""',
    # With the append-only file, a restart keeps the data, as in production, and it costs next to nothing.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "enable-debug-command": "yes",
    "repl-diskless-sync-delay": "0",
}


class Redis:
    """Provides single servers from a tree."""

    def __init__(self, kind: str, tree: Tree) -> None:
        self.kind = kind
        self.tree = tree

    def prepare(self) -> None:
        self.tree.unpack()

    def start(self, session: Session, *options: str) -> Server:
        port = session.free_port()
        program = node(session, self.kind, self.tree, port, {}, options)
        program.start()
        return Server(self.kind, f"redis://{HOST}:{port}/0", HOST, port, program, database="0")


def node(
    session: Session, name: str, tree: Tree, port: int, settings: Mapping[str, str], options: Iterable[str]
) -> Program:
    """Return a Redis process that is not started yet.

    The settings are put into a file, which sentinels change when they change the server's role.
    """
    folder = session.make_folder(name)
    lines = {**COMMON, "port": str(port), "dir": str(folder), **settings}
    configuration = folder / "redis.conf"
    configuration.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    argv: list[str | Path] = [tree.program("usr/bin/*-server"), configuration, *options]
    return Program(session, argv, folder, functools.partial(answers, port))


def answers(port: int) -> bool:
    """Return whether a server accepts commands."""
    return bool(command(port, "PING") == "PONG")


def command(port: int, *words: str | int) -> Any:
    """Send one command and return the reply: str, int, list or None.

    :raises ValueError: the reply is an error.
    """
    request = b"*%d\r\n" % len(words)
    for word in words:
        data = str(word).encode()
        request += b"$%d\r\n%s\r\n" % (len(data), data)
    with socket.create_connection((HOST, port), timeout=5) as connection, connection.makefile("rb") as replies:
        connection.sendall(request)
        return _read(replies)


def _read(replies: Any) -> Any:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("closed")
    kind, rest = line[:1], line[1:-2].decode()
    match kind:
        case b"-":
            raise ValueError(rest)
        case b":":
            return int(rest)
        case b"$":
            return None if rest == "-1" else replies.read(int(rest) + 2)[:-2].decode()
        case b"*":
            return [_read(replies) for _ in range(int(rest))]
        case _:
            return rest
