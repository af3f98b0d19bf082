# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""Instances of a task that are created and removed while the app runs."""

from datetime import timedelta

import anyio

from pyncette import Context, Pyncette

app = Pyncette()


@app.dynamic_task()
async def greet(context: Context) -> None:
    print(f"Hello, {context.args['username']}!")


async def main() -> None:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)

        for name in ("Ada", "Grace"):
            await context.schedule_task(greet, name, interval=timedelta(seconds=1), username=name)
        await anyio.sleep(2.5)

        await context.unschedule_task(greet, "Ada")
        for state in (await context.list_tasks(greet)).tasks:
            print(state.task.name, "is greeted next at", state.scheduled_at.time())
        context.shutdown()


if __name__ == "__main__":
    anyio.run(main)
