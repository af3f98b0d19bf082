"""Batches as columns: a statement gets one array per column, regardless of the number of records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyncette.errors import RecordRefusedException
from pyncette.record import Change, Queue, QueueClaim, Record, Ref

from .errors import LARGEST_SPEC, largest

MOST_ROWS = 5000
"""The maximum number of rows in one statement: more would hold their locks for too long."""

MOST_TEXT = 16 * 1024 * 1024
"""The maximum number of characters of ``spec`` in one statement with several rows: the server keeps several copies."""

Columns = tuple[list[Any], ...]


def read_columns(refs: Sequence[Ref]) -> Columns:
    return [ref.queue for ref in refs], [ref.key for ref in refs]


def claim_columns(claims: Sequence[QueueClaim], now: int, begun: Mapping[int, tuple[int, str]]) -> Columns:
    """One row per claim: queue, whether it is static, limit, lease end, the range of ``ready_at``, and the key to start
    after.

    :param begun: the positions to start after, by the index of the claim; the other claims start at the beginning.
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
    """The arguments of ``swap``, one row per change: queue, key, revision of ``old``, and the columns of ``new``."""
    return tuple(map(list, zip(*map(_row, changes), strict=True)))


def delete_columns(changes: Sequence[Change]) -> Columns | None:
    """The arguments of ``delete``: queue, key and revision of ``old``. None unless all changes are deletions that
    append nothing to the log of runs."""
    if any(change.new is not None or change.run is not None for change in changes):
        return None
    gone = [change.either for change in changes]
    return [one.queue for one in gone], [one.key for one in gone], [one.revision for one in gone]


def batches(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    """Split a batch into parts that fit into one statement.

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
    """The text to store; None if it is unchanged, so that a large one is neither sent nor rewritten."""
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
    """The names of the dynamic and of the static queues. The dynamic ones are an array literal: given a list, the
    driver would encode every name again for each statement."""
    quoted = (queue.name.replace("\\", "\\\\").replace('"', '\\"') for queue in queues if not queue.static)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}", [queue.name for queue in queues if queue.static]
