"""The log of a worker: text for people, JSON for collectors."""

from __future__ import annotations

import logging
import os
import sys

from pyncette.logs import JsonFormatter

from .failures import Failure, Status

TEXT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
NUMBERED = "%(asctime)s [{number}] %(levelname)-8s %(name)s: %(message)s"


def set_up(log_format: str, worker: int | None) -> None:
    """Log to stderr in this format, at the level of the variable LOG_LEVEL.

    :param worker: the number of this worker among those of its supervisor; None if it has none.
    """
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise Failure(f"LOG_LEVEL is {level!r}: write DEBUG, INFO, WARNING, ERROR or CRITICAL.", Status.USAGE)
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter(worker))
    else:
        handler.setFormatter(logging.Formatter(TEXT if worker is None else NUMBERED.format(number=worker)))
    logging.basicConfig(level=level, handlers=[handler])
