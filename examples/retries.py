# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""A task that fails at first is retried, with a delay that doubles; what a time-out cuts off is, too."""

from datetime import timedelta

import anyio

from pyncette import Context, Pyncette, Retry, RetryLater

app = Pyncette()
calls = iter(range(1, 1000))


@app.task(interval=timedelta(seconds=2), retry=Retry(5, delay=timedelta(milliseconds=100)))
async def flaky(context: Context) -> None:
    if next(calls) % 3:
        raise ConnectionError("no answer")
    print(f"flaky: attempt {context.attempt} succeeded")


@app.task(interval=timedelta(seconds=2), timeout=timedelta(milliseconds=200), retry=Retry(2))
async def slow(context: Context) -> None:
    if context.attempt == 1:
        await anyio.sleep(60)  # cancelled by the time-out
    print(f"slow: attempt {context.attempt} had {context.remaining} left")


@app.task(interval=timedelta(seconds=2))
async def polite(context: Context) -> None:
    if context.attempt == 1:
        raise RetryLater(timedelta(milliseconds=100), "the server asks for a pause")
    print("polite: executed")


async def main() -> None:
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        await anyio.sleep(4)
        context.shutdown()


if __name__ == "__main__":
    anyio.run(main)
