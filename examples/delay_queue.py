# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""One-off tasks at a given time: each is removed from the storage when it has been executed."""

from datetime import UTC, datetime, timedelta

import anyio

from pyncette import Context, FailureMode, Pyncette

app = Pyncette()


@app.dynamic_task(failure_mode=FailureMode.UNLOCK)
async def send(context: Context) -> None:
    print("sending", context.args["text"])


async def main() -> None:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)

        now = datetime.now(UTC)
        for seconds in (2, 1):
            await context.schedule_task(
                send, f"reminder {seconds}", execute_at=now + timedelta(seconds=seconds), text=f"after {seconds} s"
            )
        await anyio.sleep(2.5)
        print(len((await context.list_tasks(send)).tasks), "left")
        context.shutdown()


if __name__ == "__main__":
    anyio.run(main)
