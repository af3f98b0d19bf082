"""The log of a worker: text for people, JSON for collectors."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

from .failures import Failure, Status

TEXT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
NUMBERED = "%(asctime)s [{number}] %(levelname)-8s %(name)s: %(message)s"

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; what was given as ``extra`` is a field too."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if self._worker is not None:
            fields["worker"] = self._worker
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        fields |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        return json.dumps(fields, ensure_ascii=False, default=str)


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
