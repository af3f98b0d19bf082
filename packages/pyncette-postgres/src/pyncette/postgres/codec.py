"""Batches as columns: each statement gets one array for each column, however many records there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyncette.errors import RecordRefusedException
from pyncette.record import Change, Queue, QueueClaim, Record, Ref

from .errors import LARGEST_SPEC, largest

MOST_ROWS = 5000
"""Rows in one statement. More would hold their locks for long."""

MOST_TEXT = 16 * 1024 * 1024
"""Characters of ``spec`` in one statement, if it has more than one row: the server holds them several times over."""

Columns = tuple[list[Any], ...]


def read_columns(refs: Sequence[Ref]) -> Columns:
    return [ref.queue for ref in refs], [ref.key for ref in refs]


def claim_columns(claims: Sequence[QueueClaim], now: int, begun: Mapping[int, tuple[int, str]]) -> Columns:
    """Queue, whether it is static, limit, lease end, the window of what is ready, and the key behind which it begins.

    :param begun: the places behind which some claims begin, by their numbers.
    """
    since, after = [claim.since for claim in claims], [""] * len(claims)
    for number, (moment, key) in begun.items():
        since[number], after[number] = moment, key
    return (
        [claim.queue.name for claim in claims],
        [claim.queue.static for claim in claims],
        [claim.limit for claim in claims],
        [claim.locked_until for claim in claims],
        since,
        after,
        [min(claim.before, now + 1) for claim in claims],
    )


def swap_columns(changes: Sequence[Change]) -> Columns:
    """What ``swap`` takes, one row for each change: queue, key, revision of ``old``, and the columns of ``new``."""
    return tuple(map(list, zip(*map(_row, changes), strict=True)))


def delete_columns(changes: Sequence[Change]) -> Columns | None:
    """What ``delete`` takes: queue, key and revision of ``old``; None unless all changes are deletions that append no
    line to the log."""
    if any(change.new is not None or change.run is not None for change in changes):
        return None
    gone = [change.either for change in changes]
    return [one.queue for one in gone], [one.key for one in gone], [one.revision for one in gone]


def batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Cut a batch into parts that one statement can take.

    :raises RecordRefusedException: a record is too large.
    """
    start = text = 0
    for place, change in enumerate(changes):
        size = len(_new_spec(change) or "")
        if size > LARGEST_SPEC // 4:
            _check_size(change)
        text += size
        if place > start and (text > MOST_TEXT or place - start >= MOST_ROWS):
            yield changes[start:place]
            start, text = place, size
    yield changes[start:]


def _row(change: Change) -> tuple[Any, ...]:
    old, new = change.old, change.new
    if new is None:
        gone = change.either
        return gone.queue, gone.key, gone.revision, *_NOTHING
    return (
        new.queue,
        new.key,
        old and old.revision,
        new.due_at,
        new.ready_at,
        new.locked_until,
        new.locked_by,
        new.revision,
        new.fence,
        new.attempt,
        _new_spec(change),
        new.state,
    )


_NOTHING = (None,) * 9


def _new_spec(change: Change) -> str | None:
    """The text to be stored; None if it stays as it is, which spares sending it, and rewriting a large one."""
    old, new = change.old, change.new
    if new is None or (old is not None and old.spec == new.spec):
        return None
    return new.spec


def _check_size(change: Change) -> None:
    size = len((_new_spec(change) or "").encode(errors="surrogatepass"))
    if size > LARGEST_SPEC:
        raise RecordRefusedException(f"{change.ref.key!r} has {size:,} bytes, PostgreSQL can't take it. {largest()}")


def record(row: Sequence[Any]) -> Record:
    """A record from its columns in the order that all statements return them."""
    return Record(*row)


def by_queue(queues: Sequence[str] | None, moments: Sequence[int] | None) -> dict[str, list[int]]:
    """Moments by queue, each queue's in order; None stands for no moments."""
    found: dict[str, list[int]] = {}
    for queue, moment in zip(queues or (), moments or (), strict=True):
        found.setdefault(queue, []).append(moment)
    return found


def dynamic_and_static(queues: Sequence[Queue]) -> tuple[str, list[str]]:
    """The names of either kind; the dynamic ones as the text of an array: the driver would look at each name each time
    that it sends them."""
    quoted = (queue.name.replace("\\", "\\\\").replace('"', '\\"') for queue in queues if not queue.static)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}", [queue.name for queue in queues if queue.static]
