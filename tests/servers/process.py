"""Server processes of one session: their folders, and how they are started, stopped, paused and awaited."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import supervisor
from .cache import Unavailable

HOST = "127.0.0.1"
STOP_GRACE_SECONDS = 15.0
GROUP_TIMEOUT_SECONDS = 30.0


class Session:
    """All servers that one process starts. They end with it, however it ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pyncette-servers-"))
        self._lock = threading.Lock()
        self._reservations: list[socket.socket] = []
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, str(self.folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # the terminal's Ctrl-C is for the tests, which then close the session
        )

    def close(self) -> None:
        """End all servers and remove their data."""
        self._supervisor.communicate()
        for reservation in self._reservations:
            reservation.close()

    def call(self, name: str, **arguments: Any) -> Any:
        """Let the supervisor do what its function `name` does."""
        stdin, stdout = self._supervisor.stdin, self._supervisor.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            stdin.write(json.dumps({"call": name, "arguments": arguments}).encode() + b"\n")
            stdin.flush()
            answer = json.loads(stdout.readline() or '{"error": "the supervisor of the test servers was killed"}')
        if "error" in answer:
            raise OSError(answer["error"])
        return answer["answer"]

    def make_folder(self, name: str) -> Path:
        """Return a new folder for a server's files; it is removed with the session."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def free_port(self) -> int:
        """Return a port that nobody listens on, and that no other session is given while this one lives."""
        ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        # Not an ephemeral port: a client that reconnects to a stopped server could get the same number as its
        # local port, and so connect to itself.
        candidates = range(10000, ephemeral) if ephemeral > 12000 else range(61000, 65000)
        for port in random.sample(candidates, len(candidates)):
            reservation = socket.socket(socket.AF_UNIX)
            try:
                # A name in the abstract namespace goes away with the process that bound it.
                reservation.bind(f"\0pyncette-test-port-{port}")
                with socket.socket() as probe:
                    probe.bind((HOST, port))
            except OSError:
                reservation.close()
                continue
            self._reservations.append(reservation)
            return port
        raise Unavailable("no port is free")


@dataclass(slots=True)
class Program:
    """One server process, which may be stopped and started again on the same data.

    `ready` says whether the server takes clients; it may raise OSError or ValueError as long as it does not.
    """

    session: Session
    argv: Sequence[str | Path]
    folder: Path
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    # Ends the server with its data, which are not needed any more: the fastest way that leaves nothing behind.
    last_signal: int = signal.SIGKILL
    # Files that a killed server leaves behind and that keep it from starting, as patterns below `folder`.
    stale: Sequence[str] = ()
    timeout_seconds: float = 60.0
    pid: int = 0

    def start(self) -> None:
        """Start the server and wait until it is ready.

        :raises Unavailable: it ended, or was not ready in time.
        """
        for path in [found for pattern in self.stale for found in self.folder.glob(pattern)]:
            path.unlink()
        self.pid = self.session.call(
            "spawn",
            argv=[str(arg) for arg in self.argv],
            cwd=str(self.folder),
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **self.env},
            log=str(self.folder / "log"),
            last_signal=int(self.last_signal),
        )
        try:
            wait_until(self._is_ready, self.timeout_seconds)
        except Unavailable as error:
            log = self.log().strip()
            error.args = (f"{error}: {log.splitlines()[-1][:300] if log else 'it wrote nothing'}",)
            error.add_note(log)
            raise

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server and all its processes; the data stay. With `kill` by SIGKILL, as a crash would."""
        number = signal.SIGKILL if kill else self.stop_signal
        self.session.call("stop", pid=self.pid, signal_number=int(number), grace=STOP_GRACE_SECONDS)

    def pause(self) -> None:
        """Suspend all of the server's processes: connections stay open, nothing is answered."""
        self.session.call("signal_family", pid=self.pid, signal_number=int(signal.SIGSTOP))

    def resume(self) -> None:
        """Let a paused server continue."""
        self.session.call("signal_family", pid=self.pid, signal_number=int(signal.SIGCONT))

    def discard(self) -> None:
        """End the server and remove its data."""
        self.session.call("stop", pid=self.pid, signal_number=int(self.last_signal), grace=STOP_GRACE_SECONDS)
        shutil.rmtree(self.folder)

    def log(self) -> str:
        """Return the end of the server's output."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def _is_ready(self) -> bool:
        ready = succeeds(self.ready)
        # Checked after readiness: another program on the same port may have answered for a server that has ended.
        if (code := self.session.call("exit_code", pid=self.pid)) is not None:
            raise Unavailable(f"it ended with {code}")
        return ready


@dataclass(frozen=True, slots=True)
class Group:
    """Several processes that serve together; `ready` says whether they have found each other."""

    members: Sequence[Program]
    ready: Callable[[], bool]

    def start(self) -> None:
        """Start all and wait until they serve together.

        :raises Unavailable: they do not.
        """
        for member in self.members:
            member.start()
        wait_until(lambda: succeeds(self.ready), GROUP_TIMEOUT_SECONDS)

    def stop(self, *, kill: bool = False) -> None:
        """Stop all, one after the other."""
        for member in self.members:
            member.stop(kill=kill)

    def pause(self) -> None:
        """Suspend all of them."""
        for member in self.members:
            member.pause()

    def resume(self) -> None:
        """Let all continue."""
        for member in self.members:
            member.resume()

    def discard(self) -> None:
        """End all and remove their data."""
        for member in self.members:
            member.discard()


def succeeds(check: Callable[[], bool]) -> bool:
    """Return the result of the check; False if there is no answer or an invalid one, as from a starting server."""
    try:
        return check()
    except (OSError, ValueError):
        return False


def wait_until(check: Callable[[], bool], seconds: float) -> None:
    """Return once `check` succeeds.

    :raises Unavailable: it has not succeeded within that time.
    """
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise Unavailable(f"it was not ready after {seconds:.0f} s")
        time.sleep(0.02)
