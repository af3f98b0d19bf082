"""An app at work, for the length of a block."""

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
    """Shut down gracefully at the end of the block. The options are those of ``create``."""
    async with app.create(**options) as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        yield context
        context.shutdown()


async def take(repository: Repository, task: Task, *, at: int) -> None:
    """Somebody else claims all that is ready, or leased, at the moment ``at``, in microseconds, of a template or a
    static task."""
    claims = [QueueClaim(task.queue, 100, at + 60_000_000)]
    await repository.claim(claims, now=at, limit=100, token="taken", holder="somebody else")
