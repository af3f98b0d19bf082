"""Records as they are stored, and the replies of the scripts. The layout is described in ``lua/common.lua``."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from pyncette.errors import RecordRefusedException
from pyncette.record import LEAST, Record

_FIXED = struct.Struct(">HqqIB")
_LEASE = struct.Struct(">qqB")
_TIME = struct.Struct(">q")
_COUNTS = struct.Struct(">II")
_LENGTHS = struct.Struct(">HI")
_LENGTH = struct.Struct(">I")

_EXACT = 2**53

_HAS_END, _HAS_HOLDER = 1, 2

MAX_REVISION_BYTES = 255
MAX_HOLDER_BYTES = 60_000
MAX_ATTEMPT = 2**32 - 1
OVERHEAD = 2**16
"""More than any header takes, in bytes."""


def head(record: Record) -> bytes:
    """All of a row but the spec."""
    state = record.state.encode()
    return _header(record) + _LENGTH.pack(len(state)) + state


def _header(record: Record) -> bytes:
    revision = encoded(record.revision)
    lease = b""
    if record.ready_at != record.due_at or record.locked_until is not None or record.locked_by is not None:
        lease = _lease(record.ready_at, record.locked_until, record.locked_by)
    if len(revision) > MAX_REVISION_BYTES or record.attempt > MAX_ATTEMPT:
        raise RecordRefusedException(
            f"The record of {record.key!r} can't be stored in Redis: its revision may take {MAX_REVISION_BYTES} bytes, "
            f"and its attempts are counted up to {MAX_ATTEMPT:,}."
        )
    length = _FIXED.size + len(revision) + len(lease)
    return _FIXED.pack(length, record.due_at, record.fence, record.attempt, len(revision)) + revision + lease


def _lease(ready_at: int, locked_until: int | None, locked_by: str | None) -> bytes:
    holder = (locked_by or "").encode()
    if len(holder) > MAX_HOLDER_BYTES:
        raise RecordRefusedException(
            f"The name of a lease's holder may take {MAX_HOLDER_BYTES:,} bytes in Redis, not {len(holder):,}."
        )
    flags = (locked_until is not None and _HAS_END) | (locked_by is not None and _HAS_HOLDER)
    return _LEASE.pack(ready_at, locked_until or 0, flags) + holder


def leased_tail(token: str, locked_until: int, holder: str) -> bytes:
    """The end of the header of a row that is claimed, from the length of the revision on."""
    revision = token.encode()
    return bytes([len(revision)]) + revision + _lease(locked_until, locked_until, holder)


def leased_length(tail: bytes) -> bytes:
    """The first field of a header with this tail."""
    return (_FIXED.size - 1 + len(tail)).to_bytes(2, "big")


def time(value: int) -> bytes:
    return _TIME.pack(value)


def score(moment: int) -> bytes:
    """The place of a ``ready_at`` in an index, whose numbers are doubles. Beyond what these tell apart (before 1684,
    after 2255) it is rounded up, so that nothing is ready early."""
    if -_EXACT <= moment <= _EXACT:
        return b"%d" % moment
    nearest = float(moment)
    return b"%d" % int(nearest if nearest >= moment else math.nextafter(nearest, math.inf))


def score_until(moment: int) -> bytes:
    """The last place in an index of what is ready at ``moment``."""
    if -_EXACT <= moment <= _EXACT:
        return b"%d" % moment
    nearest = float(moment)
    return b"%d" % int(nearest if nearest <= moment else math.nextafter(nearest, -math.inf))


def lower_bound(since: int) -> bytes:
    """Where a range of an index begins, as for ZRANGEBYSCORE."""
    return b"-inf" if since == LEAST else score(since)


def upper_bound(before: int, now: int | None = None) -> bytes:
    """Where a range of an index ends: before ``before``, and not after ``now``."""
    return score_until(now) if now is not None and now < before else b"(" + score(before)


def encoded(text: str) -> bytes:
    """A revision as it is stored; one that was damaged has bytes that are no text."""
    return text.encode(errors="surrogateescape")


def record(queue: str, key: str, row: bytes) -> Record:
    """A record from its row. What can't be read of a damaged one is left out, and its spec is none."""
    try:
        return _record(queue, key, row)
    except (struct.error, UnicodeDecodeError, IndexError):
        revision = row[_FIXED.size : _FIXED.size + row[_FIXED.size - 1]] if len(row) >= _FIXED.size else b""
        text = revision.decode(errors="surrogateescape")
        return Record(queue, key, 0, 0, None, None, text, 0, 0, f"damaged: {row[:60]!r}")


def _record(queue: str, key: str, row: bytes) -> Record:
    length, due_at, fence, attempt, revision_length = _FIXED.unpack_from(row)
    end = _FIXED.size + revision_length
    revision = row[_FIXED.size : end].decode()
    (state_length,) = _LENGTH.unpack_from(row, length)
    state_end = length + _LENGTH.size + state_length
    if state_end > len(row):
        raise IndexError("the row was cut")
    state, spec = row[length + _LENGTH.size : state_end].decode(), row[state_end:].decode()
    if length == end:
        return Record(queue, key, due_at, due_at, None, None, revision, fence, attempt, spec, state)
    ready_at, locked_until, flags = _LEASE.unpack_from(row, end)
    return Record(
        queue,
        key,
        due_at,
        ready_at,
        locked_until if flags & _HAS_END else None,
        row[end + _LEASE.size : length].decode() if flags & _HAS_HOLDER else None,
        revision,
        fence,
        attempt,
        spec,
        state,
    )


def member_of(queue: str, key: str) -> bytes:
    """What stands for a key within its dynamic queue: without the queue's name where it begins with that."""
    if key.startswith(queue) and key[len(queue) : len(queue) + 1] == ":":
        return key[len(queue) :].encode()
    return b"\0" + key.encode()


def members_with_prefix(queue: str, prefix: str) -> tuple[bytes, bytes]:
    """Where the members of keys with a prefix begin and end, as for ZRANGEBYLEX.

    Nearly all keys begin with the queue's name and a colon; the members of the others begin with NUL.
    """
    own = f"{queue}:"
    if prefix.startswith(own):
        member = prefix[len(queue) :].encode()
        return b"[" + member, b"(" + member + b"\xff"
    if own.startswith(prefix):  # all of the usual keys, and some of the others
        return b"-", b"+"
    member = b"\0" + prefix.encode()
    return b"[" + member, b"(" + member + b"\xff"


def key_of(queue: str, member: bytes) -> str:
    return queue + member.decode() if member[:1] == b":" else member[1:].decode()


def pages(reply: bytes) -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
    """Of the reply to a claim: the number of each queue, and its members and rows."""
    at = 0
    while at < len(reply):
        queue, count = _COUNTS.unpack_from(reply, at)
        at += _COUNTS.size
        found = []
        for _ in range(count):
            member, row, at = _pair(reply, at)
            found.append((member, row))
        yield queue, found


def pairs(reply: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Members and rows of a reply that holds nothing else."""
    at = 0
    while at < len(reply):
        member, row, at = _pair(reply, at)
        yield member, row


def _pair(reply: bytes, at: int) -> tuple[bytes, bytes, int]:
    member_length, row_length = _LENGTHS.unpack_from(reply, at)
    at += _LENGTHS.size
    middle = at + member_length
    end = middle + row_length
    return reply[at:middle], reply[middle:end], end


def rows(reply: bytes) -> Iterator[bytes]:
    """Rows with their lengths, empty ones for what does not exist."""
    at = 0
    while at < len(reply):
        (length,) = _LENGTH.unpack_from(reply, at)
        at += _LENGTH.size
        yield reply[at : at + length]
        at += length


def counts(reply: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(reply) // 4}I", reply)
