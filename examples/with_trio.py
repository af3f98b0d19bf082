# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette", "pyncette-core[trio]"]
# ///
"""The same on trio: every backend and every feature."""

from datetime import timedelta

import trio

from pyncette import Context, Pyncette

app = Pyncette("sqlite:///with_trio.db")


@app.task(interval=timedelta(seconds=1))
async def tick(context: Context) -> None:
    await trio.sleep(0.1)
    print("tick", context.scheduled_at)


if __name__ == "__main__":
    app.main(backend="trio")
