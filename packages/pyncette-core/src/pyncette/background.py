"""Task groups for background work that don't change how errors of the foreground look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def background() -> AsyncIterator[TaskGroup]:
    """A task group that is cancelled at the end of the block. What the block raises is not wrapped in a group."""
    error: Exception | None = None
    async with anyio.create_task_group() as group:
        try:
            yield group
        except Exception as e:  # noqa: BLE001 - raised below, where the task group can't wrap it
            error = e
        group.cancel_scope.cancel()
    if error is not None:
        raise error
