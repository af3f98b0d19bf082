"""Redis servers that serve together: a cluster, and a master with its replica and sentinels."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from .model import Server
from .process import HOST, Group, Program, Session, succeeds, wait_until
from .redis import answers, command, node
from .trees import Tree

SLOTS = 16384
MASTERS = 3
SENTINELS = 3
SERVICE = "mymaster"
DEAD_AFTER_MS = 3000
"""Silence after which sentinels fail over: longer than a busy machine delays a live server."""
TIMEOUT_SECONDS = 30.0


class RedisCluster:
    """Provides clusters of three masters, all slots served, each with this many replicas: after the masters in
    ``nodes``."""

    def __init__(self, kind: str, tree: Tree, replicas: int = 0) -> None:
        self.kind = kind
        self.tree = tree
        self._nodes = MASTERS * (1 + replicas)

    def prepare(self) -> None:
        self.tree.unpack()

    def start(self, session: Session, *options: str) -> Server:
        # A node's bus port is the node's port plus 10,000 unless it is set: a port that could be taken.
        ports = [(session.free_port(), session.free_port()) for _ in range(self._nodes)]
        programs = [self._node(session, port, bus, options) for port, bus in ports]
        for program in programs:
            program.start()
        _join(ports)
        group = Group(programs, functools.partial(_all_slots_are_served, [port for port, _ in ports]))
        wait_until(lambda: succeeds(group.ready), TIMEOUT_SECONDS)
        _replicate([port for port, _ in ports])
        nodes = tuple(_server("redis", port, program) for (port, _), program in zip(ports, programs, strict=True))
        return Server(self.kind, f"redis://{HOST}:{nodes[0].port}", HOST, nodes[0].port, group, nodes=nodes)

    def _node(self, session: Session, port: int, bus: int, options: Iterable[str]) -> Program:
        settings = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "2000",
            "cluster-port": str(bus),
        }
        return node(session, self.kind, self.tree, port, settings, options)


class RedisSentinel:
    """Provides a master and a replica with three sentinels, two of which suffice to fail over."""

    def __init__(self, kind: str, tree: Tree) -> None:
        self.kind = kind
        self.tree = tree

    def prepare(self) -> None:
        self.tree.unpack()

    def start(self, session: Session, *options: str) -> Server:
        master, replica = session.free_port(), session.free_port()
        ports = [session.free_port() for _ in range(SENTINELS)]
        data = [
            node(session, self.kind, self.tree, master, {}, options),
            node(session, self.kind, self.tree, replica, {"replicaof": f"{HOST} {master}"}, options),
        ]
        watchers = [self._sentinel(session, port, master) for port in ports]
        group = Group([*data, *watchers], functools.partial(_all_are_known, ports))
        for program in data:
            program.start()
        # A sentinel learns of replicas from the master only every ten seconds, so the replica must be running before.
        wait_until(functools.partial(is_replicated, master), TIMEOUT_SECONDS)
        for program in watchers:
            program.start()
        wait_until(lambda: succeeds(group.ready), TIMEOUT_SECONDS)
        nodes = (_server("redis", master, data[0]), _server("redis", replica, data[1]))
        sentinels = tuple(_server("sentinel", port, each) for port, each in zip(ports, watchers, strict=True))
        url = f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in ports)}/{SERVICE}"
        return Server(self.kind, url, HOST, ports[0], group, nodes=nodes, sentinels=sentinels, service=SERVICE)

    def _sentinel(self, session: Session, port: int, master: int) -> Program:
        folder = session.make_folder(self.kind)
        configuration = folder / "sentinel.conf"  # sentinels store in it what they learn
        configuration.write_text(
            f"bind {HOST}\n"
            f"port {port}\n"
            f"dir {folder}\n"
            f"sentinel monitor {SERVICE} {HOST} {master} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {DEAD_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        argv: Sequence[str | Path] = [self.tree.program("usr/bin/*-server"), configuration, "--sentinel"]
        return Program(session, argv, folder, functools.partial(answers, port))


def _server(kind: str, port: int, program: Program) -> Server:
    return Server(kind, f"redis://{HOST}:{port}/0", HOST, port, program)


def _join(ports: Sequence[tuple[int, int]]) -> None:
    """Make a cluster of single nodes and spread the slots evenly."""
    first, first_bus = ports[0]
    for index, (port, _) in enumerate(ports[:MASTERS]):
        begin, end = index * SLOTS // MASTERS, (index + 1) * SLOTS // MASTERS
        command(port, "CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        command(port, "CLUSTER", "SET-CONFIG-EPOCH", index + 1)
    for port, _ in ports[1:]:
        command(port, "CLUSTER", "MEET", HOST, first, first_bus)


def _replicate(ports: Sequence[int]) -> None:
    """Make each node beyond the masters the replica of one of them, and wait until it has its data."""
    for index, port in enumerate(ports[MASTERS:]):
        master = ports[index % MASTERS]
        command(port, "CLUSTER", "REPLICATE", command(master, "CLUSTER", "MYID"))
        wait_until(functools.partial(is_replicated, master), TIMEOUT_SECONDS)


def _all_slots_are_served(ports: Sequence[int]) -> bool:
    wanted = {"cluster_state:ok", f"cluster_slots_ok:{SLOTS}", f"cluster_known_nodes:{len(ports)}"}
    return all(wanted <= set(command(port, "CLUSTER", "INFO").splitlines()) for port in ports)


def is_replicated(master: int) -> bool:
    """Whether a replica follows the server at this port."""
    return "state=online" in command(master, "INFO", "replication")


def _all_are_known(ports: Iterable[int]) -> bool:
    """Return whether each sentinel knows the others and the replica, and considers the master alive."""
    for port in ports:
        fields = command(port, "SENTINEL", "MASTER", SERVICE)
        known = dict(zip(fields[::2], fields[1::2], strict=True))
        wanted = {"flags": "master", "num-slaves": "1", "num-other-sentinels": str(SENTINELS - 1)}
        if not wanted.items() <= known.items():
            return False
    return True
