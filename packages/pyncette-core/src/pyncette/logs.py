"""Logs for programs to read: a record as one line of JSON, with a name of its event that stays."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

EVENTS: Mapping[str, str | tuple[str, ...]] = {
    # the program
    "start_refused": "%s",
    "stopped_before_start": "Stopped before the storage was open.",
    "running": ("Running one task.", "Running %d tasks."),
    "nothing_to_run": "No task will ever run here: %s.",
    "stopping": "Shutting down gracefully.",
    "drain_deadline_passed": "The drain timeout has passed; executions that are cancelled: %d.",
    "stopped": "All executions have ended.",
    "writes_lost": "Writes that the storage did not confirm: %d. The executions they settle will run again.",
    "declared_too_late": (
        "The %s %r was added while the app is open, and has no effect on it: add it before app.create()."
    ),
    "imported_twice": (
        "The program was imported a second time, as %r, and tasks were declared on the app of that copy (%s): they "
        "will never run here. Move the app into a module that is only imported, and call its main() from another one, "
        "which imports the tasks too."
    ),
    "health_check_listens": "The health check listens on %s, port %d.",
    "health_check_fails": "The health check fails: %s.",
    "health_check_succeeds": "The health check succeeds again.",
    "observer_failed": "The observer's method %s failed; further failures are not logged.",
    "carrier_failed": "The carrier failed; it is not called again.",
    # attempts and runs
    "attempt_failed": "Task %s failed.",
    "attempt_failed_again": "Task %s failed with the same error, %d times so far: %s",
    "attempt_timed_out": "Task %s %s.",
    "attempt_steered": ("Task %s: %s", "Task %s runs again %s: %s"),
    "attempt_superseded": "Task %s was cancelled, because its next occurrence has come due.",
    "attempt_lost": "An attempt of %s was lost with its worker, %s.",
    "attempt_released": "%s is given back: %s.",
    "attempt_in_doubt": "%s is not executed: it is unknown whether this worker may execute it (%s).",
    "attempt_too_late": "%s is not executed here: its lease was lost before it began.",
    "attempt_not_taken": "The executor failed to start %s; it is retried when its lease expires.",
    "attempt_runs_long": "%s has been running for %.0f s%s.",
    "run_failed": ("The run of %s has failed: %s", "The run of %s has failed after %d attempts: %s"),
    "run_unknown": "It is unknown how the run of %s at %s ended: its worker, %s, did not report it.",
    "run_end_not_stored": "The end of %s could not be stored; it will run again when its lease expires.",
    "occurrences_skipped": (
        "An occurrence of %s is skipped (%s): %s.",
        "%s occurrences of %s are skipped (%s), from %s to %s.",
    ),
    "instance_dead": "%s is dead until it is retried or rescheduled: %s",
    "instance_paused": "%s is paused after consecutive failures, the last one: %s",
    "instance_changed_meanwhile": "%s was removed or rescheduled while it was executed.",
    "event_loop_blocked": (
        "Task %s has been blocking the event loop for %.1f s%s. Nothing else runs in the meantime, not even "
        "heartbeats: await, or make it a plain function, which runs in a thread."
    ),
    "event_loop_goes_on": "The event loop is free again, %.1f s after %s blocked it.",
    # leases
    "lease_lost": "The lease on %s was lost before its end was stored; it may have been executed twice.",
    "lease_lost_cancelling": "The lease on %s is lost; cancelling it.",
    "lease_lost_going_on": "The lease on %s is lost; the execution continues.",
    "lease_not_given_back": "The lease on %r could not be given back: %s",
    "heartbeat_failed": "A heartbeat of %s failed (%s: %s); trying again.",
    # what is stored
    "storage_failed": "The storage failed in %s: %s (%s). It is retried; this is logged once.",
    "storage_works": "The storage works again, after %.1f s.",
    "storage_call_hangs": "A cancelled call of the repository has not ended after %s s.",
    "storage_not_closed": "The repository did not close in time; it is left open, together with its thread.",
    "record_undecodable": (
        "The record of %r can't be decoded (%s). It is kept, but will not run until it is scheduled again."
    ),
    "record_of_later_version": "The record of %r is left to workers of a later version of Pyncette (%s).",
    "control_undecodable": "%s What was paused stays paused; pausing or resuming a template rewrites it.",
    "next_occurrence_moved": "%s was due at %s, which is not on its schedule any more; it moves to %s.",
    "static_task_gone": "The record of task %r is gone from the storage; storing it again.",
    "static_task_completed": "Task %r is completed: the last occurrence of its schedule was at %s.",
    "static_task_corrected": (
        "The stored next occurrence of task %r, %s, is later than on its schedule; it is now due at %s."
    ),
    "static_task_rescheduled": "The schedule of task %r has changed in code; storing the new one.",
    "static_task_unreadable": "The stored schedule of task %r can't be read (%s).",
    "static_task_readable": "The record of task %r can be read again; it is rescheduled.",
}
"""The name of each event that is logged at INFO or above, and its message or messages.

Names don't change; messages may be improved, and events added.
"""

NAMES: Mapping[str, str] = {
    text: name for name, texts in EVENTS.items() for text in ((texts,) if isinstance(texts, str) else texts)
}
"""The name of the event that each text describes."""

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    Its fields are ``time`` (UTC), ``level``, ``logger``, ``message`` and ``pid``; for Pyncette's own records ``event``,
    a name from :data:`EVENTS`; ``exception`` if there is one; and anything passed as ``extra``, such as ``task``.

    :param worker: a number that distinguishes the workers of a supervisor, as the field ``worker``.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.name.startswith("pyncette.") and (event := NAMES.get(record.msg)) is not None:
            fields["event"] = event
        if self._worker is not None:
            fields["worker"] = self._worker
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        fields |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        return json.dumps(fields, ensure_ascii=False, default=str)
