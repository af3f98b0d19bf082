# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""What has failed for good is kept as dead, is listed, and is executed again once the cause is gone."""

import datetime
from datetime import timedelta

import anyio

from pyncette import Context, Pyncette, Retry

app = Pyncette()
mail_server: set[str] = set()


@app.dynamic_task(retry=Retry(2, delay=timedelta(milliseconds=50)))
async def deliver(context: Context) -> None:
    if "up" not in mail_server:
        raise ConnectionError("the mail server is down")
    print("delivered", context.task.name)


async def main() -> None:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        now = datetime.datetime.now(datetime.UTC)
        for name in ("invoice", "reminder"):
            await context.schedule_task(deliver, name, execute_at=now)
        await anyio.sleep(1)
        dead = (await context.list_tasks(deliver, state="dead")).tasks
        print("dead:", sorted(state.task.name for state in dead))
        mail_server.add("up")
        for state in dead:  # another schedule revives what is dead
            await context.schedule_task(deliver, state.task.name, execute_at=datetime.datetime.now(datetime.UTC))
        await anyio.sleep(1)
        context.shutdown()


if __name__ == "__main__":
    anyio.run(main)
