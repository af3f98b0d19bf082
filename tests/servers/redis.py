"""Redis and Valkey: a single server."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from .model import Server
from .process import HOST, Program, Session
from .trees import Tree

REDIS = Tree("redis", "bookworm", ("redis-server", "redis-tools"))

COMMON = {
    "--bind": HOST,
    "--save": "",
    # With the log a restart keeps the data, as a server that people trust does, and it costs next to nothing.
    "--appendonly": "yes",
    "--appendfsync": "everysec",
    "--enable-debug-command": "yes",
    "--repl-diskless-sync-delay": "0",
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
        program = node(session, self.kind, self.tree, port, *options)
        program.start()
        return Server(self.kind, f"redis://{HOST}:{port}/0", HOST, port, program, database="0")


def node(session: Session, name: str, tree: Tree, port: int, *options: str) -> Program:
    """Return a Redis process that is not started yet. Later options win over earlier ones."""
    folder = session.make_folder(name)
    server = tree.program("usr/bin/*-server")
    settings = {**COMMON, "--port": str(port), "--dir": str(folder)}
    argv: list[str | Path] = [server, *(part for pair in settings.items() for part in pair), *options]
    return Program(session, argv, folder, lambda: command(port, "PING") == "PONG")


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
