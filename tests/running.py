"""A running app, for the duration of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from pyncette import Pyncette, PyncetteContext, Task
from pyncette.record import QueueClaim
from pyncette.repository import Repository


@asynccontextmanager
async def running(app: Pyncette, **options: Any) -> AsyncIterator[PyncetteContext]:
    """Run an app, and shut it down gracefully at the end of the block. The options are those of ``create``."""
    async with app.create(**options) as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        yield context
        context.shutdown()


async def take(repository: Repository, task: Task, *, at: int) -> None:
    """Claim everything of a template or a static task, ready or leased, for another worker at the time ``at`` in
    microseconds."""
    claims = [QueueClaim(task.queue, 100, at + 60_000_000)]
    await repository.claim(claims, now=at, limit=100, token="taken", holder="somebody else")
