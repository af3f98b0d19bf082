"""The processes of the chaos: workers in their slots, which are filled again, and operators."""

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

from .journal import READY, has_written

ROOT = Path(__file__).resolve().parents[2]
LOOPS = ("asyncio", "trio")
PATIENCE_SECONDS = 60


@dataclass(slots=True)
class Slot:
    """A place for a worker; one that ended is followed by another.

    :ivar number: from 0.
    :ivar generation: how many processes it has had before this one.
    :ivar environment: variables of its processes, besides those of this one.
    :ivar died: what became of processes that ended by themselves after they had begun to work.
    :ivar refused: how many ended before that, as those do that find no storage.
    :ivar empty: whether it is to have none for now.
    """

    folder: Path
    number: int
    options: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    generation: int = -1
    died: list[str] = field(default_factory=list)
    refused: int = 0
    empty: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Of the process that it has now, as the journals call it."""
        return f"{self.number}.{self.generation}"

    @property
    def clock(self) -> Path:
        """The file by which its processes' clock goes, if it can be set."""
        return self.folder / f"clock-{self.number}"

    @property
    def journal(self) -> Path:
        return self.folder / f"worker-{self.name}"

    def start(self) -> None:
        self.generation += 1
        self.empty = False
        arguments = [LOOPS[self.number % 2], str(self.journal), json.dumps(self.options)]
        self.process = spawn("tests.chaos.worker", arguments, self.folder / f"output-{self.name}", self.environment)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.empty = True
        self.process.kill()
        self.process.wait()

    def look(self) -> None:
        """Start another process if this one has ended by itself."""
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
        with anyio.fail_after(PATIENCE_SECONDS):
            while not has_written(self.journal, READY):
                self.look()
                await anyio.sleep(0.1)

    async def stop(self) -> None:
        """Ask it to end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = await ended(self.process)
        if status != 0:
            self.died.append(f"worker {self.name} ended with {status} when it was asked to")


def spawn(
    module: str, arguments: list[str], output: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LOG_LEVEL": "WARNING", **(environment or {})},
        )


async def until_written(journal: Path, letter: str) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while not has_written(journal, letter):  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.1)


async def ended(process: subprocess.Popen[bytes], seconds: float = PATIENCE_SECONDS) -> int | None:
    """The status with which it ends; None if it does not within that time, and is killed."""
    deadline = time.monotonic() + seconds
    while (status := process.poll()) is None:
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            return None
        await anyio.sleep(0.05)
    return status
