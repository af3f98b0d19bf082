"""Lines of the run log, which record how runs have ended. Pure.

Times are microseconds since the epoch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pyncette._tasks.extra import current_run
from pyncette._tasks.state import described
from pyncette.record import Record, RunLine

from .values import Attempt, AttemptEnd, Ended, Skipped

VERSION = 1

_NOT_ERRORS = frozenset({"succeeded", "skipped"})


@dataclass(frozen=True, slots=True)
class Logged:
    """The content of a line's text.

    :ivar scheduled_at: the occurrence; if the line only reports skips, the first of them.
    :ivar started_at: when the last attempt began; None if there was none.
    """

    scheduled_at: int
    started_at: int | None
    attempts: int
    reason: str
    error: str
    worker: str
    skips: tuple[Skipped, ...]
    trigger: str = "schedule"
    run_id: str | None = None


def line(record: Record, attempt: Attempt, ended: Ended, *, errors_only: bool) -> RunLine | None:
    """The line for a run that has ended, or for occurrences that were skipped; None if there is nothing to log.

    :param record: as it was before the change.
    :param errors_only: leave out runs that succeeded or were skipped.
    """
    outcome = ended.outcome or ("skipped" if ended.skips else None)
    if outcome is None or (errors_only and outcome in _NOT_ERRORS):
        return None
    extra = current_run(record.state)
    began = attempt.end not in (AttemptEnd.PASSED, AttemptEnd.RELEASED)
    logged = Logged(
        scheduled_at=attempt.due_at,
        started_at=attempt.started_at,
        attempts=record.attempt - (attempt.end is AttemptEnd.LOST) if began else 0,
        reason=ended.reason,
        error="" if attempt.error is None or outcome == "succeeded" else described(attempt.error),
        worker=attempt.worker,
        skips=tuple(ended.skips),
        trigger="schedule" if extra is None else extra.trigger,
        run_id=None if extra is None else extra.id,
    )
    # Deterministic, so that storing the same end again after a lost reply doesn't add a second line.
    digest = hashlib.sha1(record.key.encode(), usedforsecurity=False).hexdigest()[:16]
    name = f"{attempt.due_at:x}-{record.fence:x}-{digest}"
    return RunLine(name, record.queue, record.key, attempt.ended_at, outcome, encode(logged))


def encode(logged: Logged) -> str:
    fields: dict[str, Any] = {"v": VERSION, "due": logged.scheduled_at, "n": logged.attempts, "worker": logged.worker}
    if logged.started_at is not None:
        fields["began"] = logged.started_at
    if logged.run_id is not None:
        fields["by"], fields["id"] = logged.trigger, logged.run_id
    if logged.reason:
        fields["why"] = logged.reason
    if logged.error:
        fields["error"] = logged.error
    if logged.skips:
        fields["skips"] = [[skip.reason, skip.first, skip.last, skip.count, skip.exact] for skip in logged.skips]
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> Logged | None:
    """None if it is damaged."""
    try:
        fields = json.loads(text)
        began = fields.get("began")
        return Logged(
            scheduled_at=int(fields["due"]),
            started_at=None if began is None else int(began),
            attempts=int(fields["n"]),
            reason=str(fields.get("why", "")),
            error=str(fields.get("error", "")),
            worker=str(fields["worker"]),
            skips=tuple(
                Skipped(int(first), int(last), int(count), bool(exact), str(reason))
                for reason, first, last, count, exact in fields.get("skips", ())
            ),
            trigger=str(fields.get("by", "schedule")),
            run_id=fields.get("id"),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
