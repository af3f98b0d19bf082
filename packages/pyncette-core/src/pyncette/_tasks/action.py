"""Records of what operators did: one per action, as versioned JSON text. Pure functions."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass

from pyncette._schedules.moments import to_datetime
from pyncette.record import Band, Queue, Record

VERSION = 1

ACTIONS = Queue(":actions")
"""The reserved queue of the records, from which nothing is claimed. Keys decrease over time, so that the latest actions
are read first."""

LIFETIME = 90 * 86_400_000_000
"""How long an action is kept, in microseconds."""

_LATEST = 10**19
"""Greater than every moment in microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that an operator did.

    :ivar at: when, in UTC.
    :ivar who: who did it, as the program says by which they did.
    :ivar what: what it was, in a word: ``"pause"``.
    :ivar task: the name of the task that it was done to, if it was done to one.
    :ivar instance: the name of the instance, if it was done to one.
    :ivar detail: what else there is to say.
    """

    at: datetime.datetime
    who: str
    what: str
    task: str | None
    instance: str | None
    detail: str


def key_of(now: int, salt: str) -> str:
    """The key of an action at this moment."""
    return f"{ACTIONS.name}:{_LATEST - now:020}:{salt}"


def new_record(
    key: str, now: int, revision: str, *, who: str, what: str, task: str | None, instance: str | None, detail: str
) -> Record:
    """The record of an action. It is held until it expires."""
    fields = {"v": VERSION, "who": who, "what": what, "task": task, "instance": instance, "detail": detail}
    text = json.dumps(fields, separators=(",", ":"))
    return Record(ACTIONS.name, key, now, Band.COMPLETED.at(now + LIFETIME), None, None, revision, 0, 0, text)


def decode(record: Record) -> Action | None:
    """The action; None if the text is damaged, or from a version that omits fields that this one needs."""
    try:
        fields = json.loads(record.spec)
        return Action(
            at=to_datetime(record.due_at),
            who=str(fields["who"]),
            what=str(fields["what"]),
            task=None if fields["task"] is None else str(fields["task"]),
            instance=None if fields["instance"] is None else str(fields["instance"]),
            detail=str(fields["detail"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
