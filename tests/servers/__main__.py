"""Test servers for developers: `python -m tests.servers up`.

They run in the background until `down`, and the tests use them after `eval "$(python -m tests.servers env)"`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from . import external
from .cache import Unavailable, folder, locked
from .pool import Pool
from .process import HOST
from .providers import PROVIDERS

ROOT = Path(__file__).parents[2]
DEFAULT = ("redis", "redis-cluster", "redis-sentinel", "postgres", "mysql", "mariadb", "dynamodb")
KEEPER_TIMEOUT_SECONDS = 10.0
# The errors if the other side of a connection has ended, or is another program.
GONE = (OSError, EOFError, AuthenticationError)
# The kind of server, its address if it is running, and an error if there was one.
Report = tuple[str, str | None, str | None]


class Keeper:
    """A background process that runs servers for other processes, which send it requests."""

    def __init__(self) -> None:
        self.pool = Pool()

    def serve(self) -> None:
        """Answer requests until one says `down`."""
        key = secrets.token_bytes(32)
        with Listener((HOST, 0), authkey=key) as listener:
            self._publish({"address": list(listener.address), "key": key.hex()})
            try:
                while self._answers(listener):
                    pass
            finally:
                self._end()

    def _publish(self, where: dict[str, Any]) -> None:
        partial = address_file().with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(where))
        partial.rename(address_file())

    def _end(self) -> None:
        address_file().unlink(missing_ok=True)
        self.pool.close()

    def _answers(self, listener: Listener) -> bool:
        """Answer one request; say whether there may be another."""
        verb = ""
        with contextlib.suppress(*GONE), listener.accept() as connection:
            verb, kinds, kill = connection.recv()
            if verb == "down":
                self._end()
            if verb == "up":
                self.pool.missing.clear()  # what was unavailable before may be available now
                self.pool.prepare(kinds, print)
            for kind in kinds:
                connection.send(self._report(verb, kind, kill=kill))
            connection.send(None)
        return verb != "down"

    def _report(self, verb: str, kind: str, *, kill: bool) -> Report:
        """Do what `verb` says to the server of this kind."""
        try:
            if verb == "up":
                self.pool.shared(kind)
            server = self.pool.running.get(kind)
            if server and verb == "restart":
                server.restart(kill=kill)
        except Unavailable as error:
            return kind, None, str(error)
        return kind, server.url if server else None, None


def address_file() -> Path:
    return folder() / "keeper.json"


def connect() -> Connection[Any, Any] | None:
    """Return a connection to the keeper; None if there is none."""
    try:
        where = json.loads(address_file().read_text())
        return Client(tuple(where["address"]), authkey=bytes.fromhex(where["key"]))
    except GONE:
        return None


def connect_or_start() -> Connection[Any, Any]:
    with locked("keeper"):
        if connection := connect():
            return connection
        given = set(map(external.variable, PROVIDERS))  # they may point to servers of an earlier keeper
        log = folder() / "keeper.log"
        with log.open("w") as output:
            subprocess.Popen(
                [sys.executable, "-m", "tests.servers", "keep"],
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if name not in given},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + KEEPER_TIMEOUT_SECONDS
        while not (connection := connect()):
            if time.monotonic() > deadline:
                sys.exit(f"the servers' keeper does not start: see {log}")
            time.sleep(0.05)
        return connection


def ask(connection: Connection[Any, Any], verb: str, kinds: list[str], *, kill: bool) -> Iterator[Report]:
    with connection:
        connection.send((verb, kinds, kill))
        while answer := connection.recv():
            yield answer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("verb", choices=("up", "env", "status", "restart", "down", "keep"))
    parser.add_argument("kind", nargs="*", help=f"any of: {', '.join(PROVIDERS)}; without, those most tests need")
    parser.add_argument("--kill", action="store_true", help="restart after SIGKILL, as after a crash")
    given = parser.parse_intermixed_args()
    if unknown := set(given.kind) - PROVIDERS.keys():
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PROVIDERS)}")
    if given.verb == "keep":
        Keeper().serve()
        return 0
    connection = connect_or_start() if given.verb == "up" else connect()
    if not connection:
        print("nothing runs", file=sys.stderr)
        return 0 if given.verb == "down" else 1
    kinds = [] if given.verb == "down" else given.kind or (DEFAULT if given.verb == "up" else list(PROVIDERS))
    line = "export {variable}='{url}'" if given.verb == "env" else "{kind:15} {url}"
    failed = False
    for kind, url, error in ask(connection, given.verb, list(kinds), kill=given.kill):
        failed |= bool(error)
        if error:
            print(f"{kind}: {error}", file=sys.stderr)
        elif url:
            print(line.format(kind=kind, url=url, variable=external.variable(kind)), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
