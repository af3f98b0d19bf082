# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""A month of a schedule, tested in milliseconds."""

from datetime import UTC, datetime, timedelta

import anyio

from pyncette import Context, Pyncette
from pyncette.testing import ManualClock

clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
app = Pyncette(clock=clock)
runs: list[datetime] = []


@app.task(schedule="30 2 * * *", timezone="Europe/Berlin")
async def nightly(context: Context) -> None:
    runs.append(context.scheduled_at)


async def main() -> None:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await clock.advance(timedelta(days=31))
        context.shutdown()
    print(len(runs), "runs")
    # On the 29th the clock jumps from 2:00 to 3:00: it runs at the first moment after the gap.
    print([run.isoformat() for run in runs[27:30]])


if __name__ == "__main__":
    anyio.run(main)
