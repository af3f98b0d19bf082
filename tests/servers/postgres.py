"""PostgreSQL."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from .cache import Unavailable, build_once, folder, run
from .model import DATABASE, PASSWORD, USER, Server
from .process import HOST, Program, Session
from .trees import Tree

POSTGRES_15 = Tree("postgres", "bookworm", ("postgresql-15",))
POSTGRES_18 = Tree("postgres18", "sid", ("postgresql-18",))

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "dynamic_shared_memory_type": "mmap",  # in files beside the data, which go with them
    # Data need not survive a crash of the machine, but acknowledged writes must survive a killed server.
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
# Like most databases in production, this one sorts by the rules of a language, not by code points.
CREATE_DATABASE = f"CREATE DATABASE {DATABASE} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'\n"
# A container has no user namespaces as a rule. There root becomes a user who may enter any folder, so that neither the
# cache nor the session's folder has to be opened to all; without the securebit access(2) would ignore that capability.
ANY_FOLDER = "--inh-caps=+dac_override --ambient-caps=+dac_override --securebits=+no_setuid_fixup"
WAYS_WITHOUT_ROOT = (
    "unshare --user --map-user=1000 --map-group=1000",
    f"setpriv --reuid=65534 --regid=65534 --clear-groups {ANY_FOLDER}",
)
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class Postgres:
    """Provides PostgreSQL servers from a tree."""

    def __init__(self, kind: str, tree: Tree) -> None:
        self.kind = kind
        self.tree = tree

    def prepare(self) -> None:
        self._template()

    def start(self, session: Session, *options: str) -> Server:
        place = session.make_folder(self.kind)
        run("cp", "--archive", "--reflink=auto", self._template(), place / "data")
        return self._start_in(place, session, SETTINGS, options)

    def _start_in(self, place: Path, session: Session, settings: Mapping[str, str], options: Iterable[str]) -> Server:
        """Start a server on the data in this folder."""
        port = session.free_port()
        settings = {**settings, "port": str(port)}
        arguments = (part for key, value in settings.items() for part in ("-c", f"{key}={value}"))
        program = Program(
            session,
            self._command("postgres", "-D", str(place / "data"), *arguments, *options),
            place,
            functools.partial(_takes_clients, port),
            stop_signal=signal.SIGINT,  # a fast shutdown; SIGTERM waits until the clients have left
            last_signal=signal.SIGQUIT,  # SIGKILL would leave shared memory behind
            stale=("data/postmaster.pid",),
        )
        program.start()
        url = f"postgresql://{USER}:{PASSWORD}@{HOST}:{port}/{DATABASE}"
        return Server(self.kind, url, HOST, port, program, USER, PASSWORD, DATABASE)

    def _command(self, program: str, *arguments: str) -> list[str]:
        path = self.tree.program(f"usr/lib/postgresql/*/bin/{program}")
        return [*without_root(), str(path), *arguments]

    def _template(self) -> Path:
        """Return a data directory that each server gets a copy of."""
        self.tree.unpack()
        owner = "_".join(Path(arg).name for arg in without_root()[:1]) or "plain"
        return build_once(folder() / "templates" / f"{self.tree.identity}-{owner}", self._initialise)

    def _initialise(self, data: Path) -> None:
        options = f"--username={USER} --pwfile=/dev/stdin --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync"
        initdb = self._command("initdb", "-D", str(data), *options.split())
        run(*initdb, env=ENVIRONMENT, cwd=Path("/"), stdin=PASSWORD + "\n")
        single = self._command("postgres", "--single", "-F", "-D", str(data), "template1")
        # Single-user mode succeeds even if its statements fail.
        if "ERROR" in (said := run(*single, env=ENVIRONMENT, cwd=Path("/"), stdin=CREATE_DATABASE)):
            raise Unavailable(f"the test database cannot be created: {said.strip().splitlines()[-1]}")


@functools.cache
def without_root() -> tuple[str, ...]:
    """Return the start of a command line that hides from a program that it runs as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return ()
    for way in WAYS_WITHOUT_ROOT:
        with contextlib.suppress(Unavailable):
            run(*way.split(), "true")
            return tuple(way.split())
    raise Unavailable("PostgreSQL does not run as root, and neither unshare nor setpriv hides root here")


def _takes_clients(port: int) -> bool:
    """Return whether a start-up message is answered by a request for the password, not by "starting up"."""
    body = struct.pack("!i", 3 << 16) + f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    with socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(struct.pack("!i", len(body) + 4) + body)
        return connection.recv(1) == b"R"
