# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette"]
# ///
"""The same on SQLite: stop it with Ctrl-C, start it again, and it continues where it was."""

from datetime import timedelta

from pyncette import Context, Pyncette
from pyncette.sqlite import sqlite_repository

app = Pyncette(repository_factory=sqlite_repository, sqlite_database="pyncette.db")


@app.task(schedule="* * * * * */2")
async def every_two_seconds(context: Context) -> None:
    print("cron:    ", context.scheduled_at)


# Occurrences that were missed while nothing ran are executed one after another, unless fast_forward skips them.
@app.task(interval=timedelta(seconds=3), fast_forward=True)
async def every_three_seconds(context: Context) -> None:
    print("interval:", context.scheduled_at)


if __name__ == "__main__":
    app.main()
