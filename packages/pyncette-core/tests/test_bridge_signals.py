"""Ctrl-C while a call is on the other side of the bridge."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyncette import bridge
from pyncette.cancellation import CANCEL_GRACE

PROGRAM = """
import asyncio, sys, time
from contextlib import asynccontextmanager, suppress
import trio
from pyncette.bridge import asyncio_only
from pyncette.memory import MemoryRepository

class Driver(MemoryRepository):
    async def read(self, refs):
        print("reading", flush=True)
        while True:
            try:
                await asyncio.sleep(60)
            finally:
                if sys.argv[1] == "stubborn":
                    while True:
                        with suppress(asyncio.CancelledError):
                            await asyncio.sleep(60)

@asyncio_only
@asynccontextmanager
async def factory():
    try:
        yield Driver()
    finally:
        print("closed", flush=True)

async def main():
    async with factory() as repository:
        if sys.argv[2] == "child":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(repository.read, [])
        else:
            await repository.read([])

try:
    trio.run(main)
finally:
    print("over", flush=True)
"""


@pytest.mark.parametrize("where", ["main", "child"])
@pytest.mark.parametrize("driver, interrupts", [("willing", 1), ("stubborn", 2)])
def test_interrupts_end_the_process(tmp_path: Path, driver: str, interrupts: int, where: str) -> None:
    """One interrupt is enough if the driver can be cancelled; two end the process in any case, within the timeouts."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(program), driver, where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        started = time.monotonic()
        for number in range(interrupts):
            time.sleep(0.3 * number)
            process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert time.monotonic() - started < bridge.CLOSE_TIMEOUT + 3 * CANCEL_GRACE
    assert output.endswith("over\n")
    assert ("closed" in output) is (driver == "willing")
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
