# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""Plain functions run in worker threads, at most concurrency_limit at the same time."""

import time
from datetime import timedelta

import anyio.from_thread

from pyncette import Context, Pyncette

app = Pyncette(concurrency_limit=10)


@app.task(interval=timedelta(seconds=1))
def crunch(context: Context) -> None:
    time.sleep(0.5)  # blocks its thread, not the scheduler
    anyio.from_thread.run(context.heartbeat)
    print("crunched", context.scheduled_at)


if __name__ == "__main__":
    app.main()
