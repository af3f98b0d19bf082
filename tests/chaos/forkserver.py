"""A process that has imported everything that workers need, and forks a worker on request. Starting a worker from
scratch takes a second of CPU, and faults require hundreds of them.

It reads lines of JSON, each with the arguments of a worker and the file for its output. It answers with the process id,
and writes the worker's exit status to a separate file. When it ends, so do its workers.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import traceback
from pathlib import Path
from urllib.parse import urlsplit

from . import worker
from .orphans import end_with_parent


def status_file(output: Path) -> Path:
    return output.with_name(f"status-{output.name}")


def fork(arguments: list[str], output: Path) -> int:
    """Returns the process id; the child never returns."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        end_with_parent()
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(file, 1)
        os.dup2(file, 2)
        worker.main(*arguments)
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 -- whatever happens, the child must not continue as another fork server
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def reap(outputs: dict[int, Path]) -> None:
    """Record how children have ended."""
    while outputs:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        path = status_file(outputs.pop(pid))
        new = path.with_suffix(".new")
        new.write_text(str(os.waitstatus_to_exitcode(status)))
        new.replace(path)


def serve() -> None:
    outputs: dict[int, Path] = {}
    waiting = b""
    while True:
        reap(outputs)
        if not select.select([0], [], [], 0.02)[0]:
            continue
        received = os.read(0, 65536)
        if not received:
            return
        *lines, waiting = (waiting + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            output = Path(request["output"])
            pid = fork(request["arguments"], output)
            outputs[pid] = output
            os.write(1, f"{pid}\n".encode())


if __name__ == "__main__":
    scheme = urlsplit(sys.argv[1]).scheme
    importlib.import_module({"postgresql": "pyncette.postgres"}.get(scheme, f"pyncette.{scheme}"))
    importlib.import_module("trio")
    end_with_parent()
    serve()
