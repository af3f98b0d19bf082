# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""Tasks that take longer than their lease keep it alive with heartbeats."""

from datetime import timedelta

import anyio

from pyncette import Context, Pyncette
from pyncette.utils import with_heartbeat

app = Pyncette()


@app.task(interval=timedelta(seconds=1), lease_duration=timedelta(seconds=1))
@with_heartbeat(cancel_on_lease_lost=True)
async def automatic(context: Context) -> None:
    await anyio.sleep(2)  # the lease is prolonged in the background
    print("automatic:", context.scheduled_at)


@app.task(interval=timedelta(seconds=1), lease_duration=timedelta(seconds=1))
async def cooperative(context: Context) -> None:
    for _ in range(4):
        await anyio.sleep(0.5)
        await context.heartbeat()  # raises LeaseLostException if another worker has taken over
    print("cooperative:", context.scheduled_at)


if __name__ == "__main__":
    app.main()
