"""A worker process of the scenarios: executes instances and writes down each execution as it begins.

Arguments: the event loop, the log, the app's options as JSON. Ends gracefully by SIGTERM.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from pyncette import Context, Pyncette, Task

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=15)


def make_app(options: dict[str, Any]) -> tuple[Pyncette, Task, int]:
    """The app that all processes of a scenario share, its task, and the descriptor of the log once there is one."""
    url = options.pop("url")
    app = Pyncette(url, **options)
    log = os.open(os.environ.get("SCENARIO_LOG", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @app.dynamic_task(lease_duration=LEASE)
    async def work(context: Context) -> None:
        occurrence = (context.scheduled_at - EPOCH) // timedelta(microseconds=1)
        os.write(log, f"{context.task.name} {occurrence}\n".encode())

    return app, work, log


if __name__ == "__main__":
    loop, path, text = sys.argv[1:]
    os.environ["SCENARIO_LOG"] = path
    make_app(json.loads(text))[0].main(loop)
