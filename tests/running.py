"""An app at work, for the length of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from pyncette import Pyncette, PyncetteContext


@asynccontextmanager
async def running(app: Pyncette) -> AsyncIterator[PyncetteContext]:
    """Shut down gracefully at the end of the block."""
    async with app.create() as context, anyio.create_task_group() as group:
        group.start_soon(context.run)
        yield context
        context.shutdown()
