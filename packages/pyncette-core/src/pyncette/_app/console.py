"""The console entry: logging, event loop, signals."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from pyncette._concurrency.background import background
from pyncette.errors import PyncetteException
from pyncette.logs import JsonFormatter

from .running import PyncetteContext
from .signals import StopSignals

logger: logging.Logger = logging.getLogger(__name__)

Create = Callable[[], AbstractAsyncContextManager[PyncetteContext]]

BACKENDS = ("asyncio", "trio")

FORMATS = ("text", "json")

TEXT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"

DRIVERS = ("aiobotocore", "aioboto3", "aiosqlite", "asyncmy", "asyncpg", "boto3", "botocore", "redis", "urllib3")
"""Loggers of drivers. ``LOG_LEVEL=DEBUG`` doesn't apply to them, because at DEBUG they log credentials and data. To see
that, set their own level."""


def main(create: Create, backend: str, log_format: str = "text") -> None:
    """Run an app until a signal ends it.

    :raises ValueError: the backend or the log format is not valid.
    :raises RuntimeError: an event loop is already running, or this is not the main thread.
    :raises SystemExit: with status 1, for a configuration error: an environment variable, an option of the storage, or
        a storage or port that can't be used. One line of output says what is wrong.
    """
    _refuse_a_running_loop()
    options = _backend_options(backend)
    _set_up_logging(log_format)
    with StopSignals() as signals:
        try:
            anyio.run(_run, create, signals, backend=backend, backend_options=options)
        except PyncetteException as e:
            logger.critical("%s", e, exc_info=e if logger.isEnabledFor(logging.DEBUG) else None)
            raise SystemExit(1) from e


def _refuse_a_running_loop() -> None:
    try:
        anyio.get_cancelled_exc_class()
    except RuntimeError:
        return  # no event loop
    raise RuntimeError(
        "main() starts an event loop, and one is running already: "
        "write async with app.create() as context: await context.run()"
    )


def _set_up_logging(log_format: str) -> None:
    if log_format not in FORMATS:
        raise ValueError(f"The log_format of main() is 'text' or 'json', not {log_format!r}.")
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise SystemExit(f"LOG_LEVEL is {level!r}: write DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler])
    for name in DRIVERS:
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(max(logging.getLevelNamesMapping()[level], logging.INFO))


def _backend_options(backend: str) -> dict[str, Any]:
    if backend not in BACKENDS:
        raise ValueError(f"The backend of main() is 'asyncio' or 'trio', not {backend!r}.")
    if backend == "trio" and importlib.util.find_spec("trio") is None:
        raise SystemExit('trio is not installed: pip install "pyncette[trio]>=2".')
    if os.environ.get("USE_UVLOOP", "").lower() in ("", "0", "no", "false"):
        return {}
    if backend != "asyncio":
        raise SystemExit("USE_UVLOOP is set, but uvloop is for asyncio: unset it, or call main() without a backend.")
    if importlib.util.find_spec("uvloop") is None:
        raise SystemExit('USE_UVLOOP is set, but uvloop is not installed: pip install "pyncette[uvloop]>=2".')
    return {"use_uvloop": True}


async def _run(create: Create, signals: StopSignals) -> None:
    async with background() as group:
        starting = anyio.CancelScope()
        running: list[PyncetteContext] = []
        group.start_soon(_stop, signals, starting, running)
        with starting:
            async with _configured(create) as context:
                running.append(context)
                await context.run()


def _configured(create: Create) -> AbstractAsyncContextManager[PyncetteContext]:
    try:
        return create()
    except (TypeError, ValueError) as e:  # options of the storage; users' code runs later
        raise PyncetteException(str(e)) from e


async def _stop(signals: StopSignals, starting: anyio.CancelScope, running: list[PyncetteContext]) -> None:
    await signals.wait()
    if running:
        running[0].shutdown()
    else:
        logger.info("Stopped before the storage was open.")
        starting.cancel()
