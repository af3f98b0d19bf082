"""The parent of all servers of one session: `python -I supervisor.py FOLDER PARENT`.

It starts servers when it is told to. Once its input or its parent has ended, however that came about, it ends
every process below it and removes FOLDER. A program of its own, because a killed session cannot clean up.

Each request is a line of JSON, and so is each answer: {"answer": ...} or {"error": text}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PARENT_CHECK_SECONDS = 1.0
LAST_GRACE_SECONDS = 5.0

LIBC = ctypes.CDLL(None)

# pid -> the signal by which the server is ended when the session ends
servers: dict[int, int] = {}
exit_codes: dict[int, int] = {}


def spawn(argv: list[str], cwd: str, env: dict[str, str], log: str, last_signal: int) -> int:
    with open(log, "ab") as output:
        # The supervisor waits for every child by itself, so only the pid of this object is used.
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            # If the supervisor itself is killed, at least the servers' first processes end with it.
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - it has one thread only
        )
    child.returncode = 0  # otherwise its destructor warns about a process that is still running
    servers[child.pid] = last_signal
    exit_codes.pop(child.pid, None)
    return child.pid


def exit_code(pid: int) -> int | None:
    """Return a server's exit code, negative for a signal; None while it runs."""
    reap()
    return exit_codes.get(pid)


def stop(pid: int, signal_number: int, grace: float) -> None:
    """Send the signal and wait until the server and all below it are gone; SIGKILL them after `grace` seconds."""
    if signal_number == signal.SIGKILL:
        signal_family(pid, signal.SIGSTOP)  # so that none is born while the others are killed
        everyone = family(pid)
        send(signal.SIGKILL, everyone)
    else:
        everyone = family(pid)
        send(signal_number, everyone & {pid})
        send(signal.SIGCONT, everyone)  # a paused process would not receive the signal
    deadline = time.monotonic() + grace
    while everyone & running():
        if time.monotonic() > deadline:
            send(signal.SIGKILL, everyone)
        time.sleep(0.01)
    servers.pop(pid, None)


def signal_family(pid: int, signal_number: int) -> None:
    """Send the signal; SIGSTOP has taken effect on return, also on threads that were at work on another core."""
    everyone = family(pid)
    send(signal_number, everyone)
    while signal_number == signal.SIGSTOP and any(at_work(each) for each in everyone):
        time.sleep(0.001)


REQUESTS: dict[str, Callable[..., Any]] = {
    "spawn": spawn,
    "exit_code": exit_code,
    "stop": stop,
    "signal_family": signal_family,
}


def reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        exit_codes[pid] = os.waitstatus_to_exitcode(status)


def status(entry: Path) -> list[str]:
    """Return what /proc says about a process or thread, from its state and its parent on."""
    return (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()


def parents() -> dict[int, int]:
    """Return the parent of each process on the machine."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = int(status(entry)[1])
            except OSError:  # it has ended in the meantime
                continue
    return found


def at_work(pid: int) -> bool:
    """Whether a thread of the process has neither stopped nor ended."""
    try:
        states = [status(thread)[0] for thread in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # one of them has ended in the meantime
        return Path(f"/proc/{pid}").exists()
    return any(state not in "TtZX" for state in states)


def descendants(root: int, parent_of: dict[int, int]) -> set[int]:
    found: set[int] = set()
    newest = {root}
    while newest:
        newest = {pid for pid, parent in parent_of.items() if parent in newest} - found
        found |= newest
    return found


def family(pid: int) -> set[int]:
    """Return a server and all processes below it; none if it has ended, even if its number is another's by now."""
    parent_of = parents()
    return {pid} | descendants(pid, parent_of) if parent_of.get(pid) == os.getpid() else set()


def running() -> set[int]:
    """Return all processes below the supervisor that have not ended."""
    reap()
    return descendants(os.getpid(), parents())


def send(signal_number: int, pids: set[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue


def requests(parent: int) -> Iterator[bytes]:
    """Yield the lines of the input until it or the parent ends."""
    waiting = b""
    while os.getppid() == parent:
        # A forked child of the parent may hold the pipe open beyond the parent's end: look for the parent too.
        if not select.select([0], [], [], PARENT_CHECK_SECONDS)[0]:
            continue
        received = os.read(0, 65536)
        if not received:
            return
        *lines, waiting = (waiting + received).split(b"\n")
        yield from lines


def serve(parent: int) -> None:
    for line in requests(parent):
        request = json.loads(line)
        try:
            answer = {"answer": REQUESTS[request["call"]](**request["arguments"])}
        except OSError as error:
            answer = {"error": str(error)}
        with contextlib.suppress(BrokenPipeError):
            os.write(1, json.dumps(answer).encode() + b"\n")


def end_all() -> None:
    for pid, last_signal in servers.items():
        members = family(pid)
        send(last_signal, members & {pid})
        send(signal.SIGCONT, members)
    deadline = time.monotonic() + LAST_GRACE_SECONDS
    while left := running():
        if time.monotonic() > deadline:
            send(signal.SIGKILL, left)
        time.sleep(0.01)


def main(folder: str, parent: int) -> None:
    # Children of a killed server become the supervisor's own, and so none gets lost.
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(parent)
    finally:
        end_all()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
