"""The processes of the chaos: workers in slots, in which each is replaced when it ends, and operators."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from .forkserver import status_file
from .journal import READY, has_written

ROOT = Path(__file__).resolve().parents[2]
LOOPS = ("asyncio", "trio")
TIMEOUT_SECONDS = 240
"""Seconds for a process to start or to end: the machine may be very busy."""


class Forked:
    """A worker that a fork server has forked, with the methods of ``Popen`` that are needed."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = pid
        self._status = status_file(output)

    def poll(self) -> int | None:
        return int(self._status.read_text()) if self._status.exists() else None

    def wait(self) -> None:
        while self.poll() is None:
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Starts the workers of one slot, one after another; see :mod:`tests.chaos.forkserver`."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.forkserver", url],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "LOG_LEVEL": "WARNING", **environment},
        )

    def worker(self, arguments: list[str], output: Path) -> Forked:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"arguments": arguments, "output": str(output)}).encode() + b"\n")
        stdin.flush()
        return Forked(int(stdout.readline()), output)

    def close(self) -> None:
        """Close the fork server. Its workers end too."""
        self._process.kill()
        self._process.communicate()


@dataclass(slots=True)
class Slot:
    """A slot for one worker at a time; when it ends, another one replaces it.

    :ivar number: counted from 0.
    :ivar generation: the number of earlier processes in this slot.
    :ivar environment: additional variables of its processes.
    :ivar died: how processes ended that did so unexpectedly after they had started to work.
    :ivar refused: the number of processes that ended before that, as they do without a storage.
    :ivar empty: whether the slot should stay empty for now.
    """

    folder: Path
    number: int
    options: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    generation: int = -1
    died: list[str] = field(default_factory=list)
    refused: int = 0
    empty: bool = False
    process: Forked | None = None
    fork_server: ForkServer | None = None

    @property
    def name(self) -> str:
        """The name of its current process in the journals."""
        return f"{self.number}.{self.generation}"

    @property
    def clock(self) -> Path:
        """The file that controls the clock of its processes, if it can be set."""
        return self.folder / f"clock-{self.number}"

    @property
    def journal(self) -> Path:
        return self.folder / f"worker-{self.name}"

    def start(self) -> None:
        self.generation += 1
        self.empty = False
        if self.fork_server is None:
            self.fork_server = ForkServer(self.options["url"], self.environment)
        arguments = [LOOPS[self.number % 2], str(self.journal), json.dumps(self.options)]
        self.process = self.fork_server.worker(arguments, self.folder / f"output-{self.name}")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.empty = True
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.fork_server is not None:
            self.fork_server.close()

    def look(self) -> None:
        """Start another process if this one has ended unexpectedly."""
        assert self.process is not None
        status = self.process.poll()
        if status is None or self.empty:
            return
        if has_written(self.journal, READY):
            said = (self.folder / f"output-{self.name}").read_text()[-2000:]
            self.died.append(f"worker {self.name} ended by itself with {status}:\n{said}")
        else:
            self.refused += 1
        self.start()

    async def until_ready(self) -> None:
        with anyio.fail_after(TIMEOUT_SECONDS):
            while not has_written(self.journal, READY):
                self.look()
                await anyio.sleep(0.1)

    async def stop(self) -> None:
        """Stop the worker gracefully."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = await ended(self.process)
        if status != 0:
            self.died.append(f"worker {self.name} ended with {status} when it was asked to")


def spawn(module: str, arguments: list[str], output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LOG_LEVEL": "WARNING"},
        )


async def until_written(journal: Path, letter: str) -> None:
    with anyio.fail_after(TIMEOUT_SECONDS):
        while not has_written(journal, letter):  # noqa: ASYNC110 - nothing signals it
            await anyio.sleep(0.1)


async def ended(process: subprocess.Popen[bytes] | Forked, seconds: float = TIMEOUT_SECONDS) -> int | None:
    """The exit status of a process. If it does not end within that time, it is killed, and the result is None."""
    deadline = time.monotonic() + seconds
    while (status := process.poll()) is None:
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            return None
        await anyio.sleep(0.05)
    return status
