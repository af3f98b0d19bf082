# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""Alerts without a metrics server: an observer reports runs that have failed for good, and lost leases."""

import contextlib
import datetime
from datetime import timedelta

import anyio

from pyncette import Context, Pyncette, Retry
from pyncette.events import LeaseLost, RunEnded
from pyncette.observer import Observer


class Alerts(Observer):
    """Observers are called on the event loop: they hand over and return, and something else sends."""

    def __init__(self) -> None:
        self.send, self.waiting = anyio.create_memory_object_stream[str](100)

    def run_ended(self, event: RunEnded) -> None:
        if event.outcome == "failed":
            self._tell(f"{event.key} has failed after {event.attempts} attempts: {event.error!r}")

    def lease_lost(self, event: LeaseLost) -> None:
        self._tell(f"{event.key} may have been executed twice")

    def _tell(self, text: str) -> None:
        with contextlib.suppress(anyio.WouldBlock):  # a hundred wait already
            self.send.send_nowait(text)


alerts = Alerts()
app = Pyncette()
app.use_observer(alerts)


@app.dynamic_task(retry=Retry(2, delay=timedelta(milliseconds=50)))
async def deliver(context: Context) -> None:
    raise ConnectionError("the mail server is down")


async def main() -> None:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await context.schedule_task(deliver, "invoice", execute_at=datetime.datetime.now(datetime.UTC))
        print("alert:", await alerts.waiting.receive())  # here a message to whoever is on duty
        context.shutdown()


if __name__ == "__main__":
    anyio.run(main)
