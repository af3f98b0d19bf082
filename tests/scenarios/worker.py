"""A worker process of the scenarios: executes instances and logs the start of each execution.

Arguments: the event loop, the log, and the app's options as JSON, including those of :func:`make_app`. SIGTERM stops it
gracefully.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from pyncette import Context, Pyncette, Task

from .next_release import become_next

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEASE_SECONDS = 15


def make_app(options: dict[str, Any]) -> tuple[Pyncette, Task, int]:
    """The app that all processes of a scenario share, its task, and the descriptor of the log once there is one.

    :param options: the app's, its ``url`` among them, and what is taken out of them: ``release`` (``next`` for the one
        that is made up), ``lease_seconds``, ``poll_interval_seconds``, and for how many
        ``work_seconds`` an execution takes.
    """
    url = options.pop("url")
    if options.pop("release", "this") == "next":
        become_next(url)
    lease = timedelta(seconds=options.pop("lease_seconds", LEASE_SECONDS))
    seconds = options.pop("work_seconds", 0)
    if "poll_interval_seconds" in options:
        options["poll_interval"] = timedelta(seconds=options.pop("poll_interval_seconds"))
    app = Pyncette(url, **options)
    log = os.open(os.environ.get("SCENARIO_LOG", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @app.dynamic_task(lease_duration=lease)
    async def work(context: Context) -> None:
        occurrence = (context.scheduled_at - EPOCH) // timedelta(microseconds=1)
        os.write(log, f"{context.task.name} {occurrence}\n".encode())
        if seconds:
            await anyio.sleep(seconds)

    return app, work, log


if __name__ == "__main__":
    loop, path, text = sys.argv[1:]
    os.environ["SCENARIO_LOG"] = path
    make_app(json.loads(text))[0].main(loop)
