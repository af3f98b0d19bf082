# /// script
# requires-python = ">=3.11"
# dependencies = ["pyncette-core"]
# ///
"""Fixtures live as long as the app, middlewares wrap each execution."""

import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta

from pyncette import Context, Pyncette, PyncetteContext
from pyncette.context import NextFunc

logger = logging.getLogger(__name__)
app = Pyncette()


class Counter:
    def __init__(self) -> None:
        self.value = 0


@app.fixture()
async def counter(app_context: PyncetteContext) -> AsyncIterator[Counter]:
    counter = Counter()  # connect to something here ...
    yield counter
    print("counted to", counter.value)  # ... and disconnect here, after the last execution


@app.middleware
async def timed(context: Context, next: NextFunc) -> None:
    start = time.perf_counter()
    try:
        await next()
    finally:
        logger.info("%s took %.3f s", context.task.name, time.perf_counter() - start)


@app.task(interval=timedelta(seconds=1))
async def count(context: Context) -> None:
    context.counter.value += 1
    print("count:", context.counter.value)


if __name__ == "__main__":
    app.main()
