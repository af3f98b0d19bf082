"""Creates a lease of this process by hand."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from pyncette import Context, Pyncette, lease
from pyncette._leases.held import HeldLease
from pyncette._lifecycle.extra import request
from pyncette._tasks.extra import ExtraRun
from pyncette._tasks.spec import Spec, encode
from pyncette.record import Record
from pyncette.schedule import Interval

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
DUE = NOW - 10 * SECOND
ENDS = NOW + MINUTE
EVERY_MINUTE, EVERY_HOUR = Spec(Interval(MINUTE)), Spec(Interval(60 * MINUTE))


async def _body(context: Context) -> None: ...


def due(**fields: Any) -> Record:
    return replace(Record("task", "task:a", DUE, DUE, None, None, "r", 5, 0, encode(EVERY_MINUTE)), **fields)


def taken(before: Record, holder: str = "mine") -> Record:
    return lease.claim(before, now=NOW - 5, locked_until=ENDS, token=holder, holder=holder)


def made(before: Record | None = None, **policies: Any) -> HeldLease:
    before = before or due()
    template = Pyncette().dynamic_task(name="task", **policies)(_body)
    task = template.instantiate("a", interval=datetime.timedelta(minutes=1))
    return HeldLease(taken(before), before, task, EVERY_MINUTE, {"number": 1, "other": 2}, claimed_at=NOW)


def asked() -> Record:
    """A record whose current run is a manual one."""
    run = ExtraRun("id", NOW - 3 * SECOND, {"number": 7})
    change = request(due(ready_at=NOW + MINUTE, due_at=NOW + MINUTE), run, now=NOW - 3 * SECOND, revision="asked")
    assert change is not None
    assert change.new is not None
    return change.new
