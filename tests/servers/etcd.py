"""etcd: a single server, which one example stores in."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from .model import Server
from .process import HOST, Program, Session
from .trees import Tree

ETCD_3 = Tree("etcd", "bookworm", ("etcd-server",))


class Etcd:
    """Provides single servers from a tree."""

    def __init__(self, kind: str, tree: Tree) -> None:
        self.kind = kind
        self.tree = tree

    def prepare(self) -> None:
        self.tree.unpack()

    def start(self, session: Session, *options: str) -> Server:
        port, peers = session.free_port(), session.free_port()
        url, peer_url = f"http://{HOST}:{port}", f"http://{HOST}:{peers}"
        folder = session.make_folder(self.kind)
        settings = {
            "name": "test",
            "data-dir": str(folder / "data"),
            "listen-client-urls": url,
            "advertise-client-urls": url,
            "listen-peer-urls": peer_url,
            "initial-advertise-peer-urls": peer_url,
            "initial-cluster": f"test={peer_url}",
            "log-level": "error",
        }
        argv: list[str | Path] = [
            self.tree.program("usr/bin/etcd"),
            *(f"--{name}={value}" for name, value in settings.items()),
            *options,
        ]
        program = Program(session, argv, folder, lambda: answers(url))
        program.start()
        return Server(self.kind, url, HOST, port, program)


def answers(url: str) -> bool:
    """Say whether the server has a leader, which is itself."""
    with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 -- our own server
        return b'"true"' in answer.read()
