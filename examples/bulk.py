# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette"]
# ///
"""Many instances at once: few round trips, and what is refused does not stop the rest."""

from datetime import timedelta

import anyio

from pyncette import Context, Pyncette

app = Pyncette("sqlite://")


@app.dynamic_task()
async def report(context: Context) -> None:
    print("report for", context.task.name)


async def main() -> None:
    async with app.create() as context:
        users = [(f"user {i}", {"interval": timedelta(days=1)}) for i in range(5000)]
        users.append(("user x", {"interval": timedelta(0)}))
        result = await context.schedule_tasks(report, users, progress=lambda n: print(n, "users"))
        print("scheduled", result.done)
        for name, error in result.refused:
            print("refused", name, "because", error)

        result = await context.unschedule_tasks(report, (name for name, _ in users))
        print("unscheduled", result.done)


if __name__ == "__main__":
    anyio.run(main)
