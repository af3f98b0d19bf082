"""PgBouncer, which runs each transaction of its clients on any of a few connections to a PostgreSQL server."""

from __future__ import annotations

import signal
import socket

from .model import DATABASE, PASSWORD, USER, Server
from .postgres import without_root
from .process import HOST, Program, Session
from .trees import Tree

PGBOUNCER_1_18 = Tree("pgbouncer", "bookworm", ("pgbouncer",))
"""Does not support prepared statements."""

PGBOUNCER = Tree("pgbouncer-new", "sid", ("pgbouncer",))
"""Supports prepared statements."""

SETTINGS = {
    "listen_addr": HOST,
    "unix_socket_dir": "",
    "auth_type": "scram-sha-256",
    "auth_file": "users",
    "pool_mode": "transaction",
    "default_pool_size": "3",
}


class PgBouncer:
    """Provides proxies from a tree. The first option is the server's HOST:PORT, all others are settings NAME=VALUE."""

    def __init__(self, kind: str, tree: Tree) -> None:
        self.kind = kind
        self.tree = tree

    def prepare(self) -> None:
        self.tree.unpack()

    def start(self, session: Session, *options: str) -> Server:
        target, *given = options
        port = session.free_port()
        directory = session.make_folder(self.kind)
        host, _, target_port = target.rpartition(":")
        settings = {**SETTINGS, "listen_port": str(port), **dict(each.split("=", 1) for each in given)}
        lines = ["[databases]", f"* = host={host} port={target_port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (directory / "ini").write_text("\n".join(lines) + "\n")
        (directory / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        argv = [*without_root(), str(self.tree.program("usr/sbin/pgbouncer")), "ini"]
        program = Program(session, argv, directory, lambda: _listens(port), stop_signal=signal.SIGINT)
        program.start()
        url = f"postgresql://{USER}:{PASSWORD}@{HOST}:{port}/{DATABASE}"
        return Server(self.kind, url, HOST, port, program, USER, PASSWORD, DATABASE)


def _listens(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=2):
        return True
