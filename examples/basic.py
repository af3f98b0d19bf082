# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""A scheduler in memory: nothing is stored, and it ends with the process."""

from datetime import timedelta

from pyncette import Context, Pyncette

app = Pyncette()


@app.task(schedule="* * * * * */2")
async def every_two_seconds(context: Context) -> None:
    print("cron:    ", context.scheduled_at)


@app.task(interval=timedelta(seconds=3))
async def every_three_seconds(context: Context) -> None:
    print("interval:", context.scheduled_at)


if __name__ == "__main__":
    app.main()
