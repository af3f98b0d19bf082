# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette"]
# ///
"""A dynamic task in partitions; each process executes some of them: PARTITIONS=0,1 python partitioned_tasks.py"""

import os
from datetime import timedelta

import anyio

from pyncette import Context, Pyncette

app = Pyncette("sqlite:///partitions.db")


@app.partitioned_task(partition_count=4)
async def report(context: Context) -> None:
    print("report for", context.task.name)


async def main() -> None:
    if chosen := os.environ.get("PARTITIONS"):
        report.enabled_partitions = [int(number) for number in chosen.split(",")]
    async with app.create() as context, anyio.create_task_group() as group:
        for i in range(10):
            await context.schedule_task(report, f"user {i}", interval=timedelta(seconds=1))
        group.start_soon(context.run)
        await anyio.sleep(3)
        context.shutdown()


if __name__ == "__main__":
    anyio.run(main)
