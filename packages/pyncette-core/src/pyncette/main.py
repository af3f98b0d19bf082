"""The console entry: logging, event loop, signals."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from .app_context import PyncetteContext
from .background import background

logger = logging.getLogger(__name__)

Create = Callable[[], AbstractAsyncContextManager[PyncetteContext]]


def main(create: Create, backend: str) -> None:
    """Run an app until a signal ends it."""
    logging.basicConfig(
        level=os.environ.get("LOG_LEVEL", "INFO").upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    anyio.run(_run, create, backend=backend, backend_options=_backend_options(backend))


def _backend_options(backend: str) -> dict[str, Any]:
    if backend == "asyncio" and os.environ.get("USE_UVLOOP"):
        import uvloop

        return {"loop_factory": uvloop.new_event_loop}
    return {}


async def _run(create: Create) -> None:
    async with create() as context, background() as group:
        await group.start(_watch_signals, context)
        await context.run()


async def _watch_signals(context: PyncetteContext, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if context.stopping:
                logger.critical("Terminating at once.")
                logging.shutdown()
                os._exit(1)
            context.shutdown()
