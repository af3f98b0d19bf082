"""Records as they are stored, and the replies of the scripts. The layout is described in ``lua/common.lua``."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from pyncette.errors import RecordRefusedException
from pyncette.record import LEAST, Record

_FIXED = struct.Struct(">HqqIB")
_LEASE = struct.Struct(">qqB")
_HEADER = struct.Struct(">H")
_TIME = struct.Struct(">q")
_COUNTS = struct.Struct(">II")
_LENGTHS = struct.Struct(">HI")
_LENGTH = struct.Struct(">I")

_FIXED_SIZE, _LEASE_SIZE, _LENGTH_SIZE = _FIXED.size, _LEASE.size, _LENGTH.size

_EXACT = 2**53

_INLINE, _APART = b"\0", b"\1"
_LEAST_ROW = 28
_LOST = "damaged: the schedule and arguments are missing"

MAX_INLINE = 512
"""The size in bytes up to which a spec is stored in its row. A separate entry costs some hundred bytes of memory, while
copying this much with every execution costs no measurable time."""

_HAS_END, _HAS_HOLDER = 1, 2

MAX_REVISION_BYTES = 255
MAX_HOLDER_BYTES = 60_000
MAX_ATTEMPT = 2**32 - 1


def head(record: Record) -> bytes:
    """A row up to the spec."""
    state = record.state.encode()
    return _header(record) + _LENGTH.pack(len(state)) + state


def tail(spec: bytes) -> tuple[bytes, bytes]:
    """The rest of a row from the spec on, and the spec if it is stored separately."""
    return (spec + _INLINE, b"") if len(spec) <= MAX_INLINE else (_APART, spec)


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
    length = _FIXED_SIZE + len(revision) + len(lease)
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
    """The end of the header of a claimed row, from the length of the revision on."""
    revision = token.encode()
    return bytes([len(revision)]) + revision + _lease(locked_until, locked_until, holder)


def leased_length(tail: bytes) -> bytes:
    """The first field of a header with this tail."""
    return (_FIXED_SIZE - 1 + len(tail)).to_bytes(2, "big")


def time(value: int) -> bytes:
    return _TIME.pack(value)


def score(moment: int) -> bytes:
    """The score of a ``ready_at`` in an index. Scores are doubles, which hold each microsecond from 1684 to 2255;
    outside of that range they are rounded up, so that nothing is ready early."""
    if -_EXACT <= moment <= _EXACT:
        return b"%d" % moment
    nearest = float(moment)
    return b"%d" % int(nearest if nearest >= moment else math.nextafter(nearest, math.inf))


def score_until(moment: int) -> bytes:
    """The highest score of what is ready at ``moment``."""
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
    """Text as it is stored. Damaged text contains surrogates, which become its original bytes."""
    return text.encode(errors="surrogateescape")


def decoded(stored: bytes) -> str:
    """The inverse of :func:`encoded`."""
    return stored.decode(errors="surrogateescape")


Stored = tuple[bytes, bytes | None]
"""A row, and the spec if it is stored separately: empty if it is missing."""


def record(queue: str, key: str, stored: Stored) -> Record:
    """A record from its row. If the row is damaged, unreadable fields are left out and the spec is invalid."""
    row, apart = stored
    places = _places(row)
    if places is None:
        return _damaged(queue, key, row)
    length, due_at, fence, attempt, end, state_at, spec_at = places
    revision = row[_FIXED_SIZE:end].decode(errors="surrogateescape")
    state = row[state_at:spec_at].decode(errors="replace")  # core treats a damaged state as an empty one
    spec = row[spec_at:-1] if apart is None else apart or _LOST.encode()
    try:
        text = spec.decode()
    except UnicodeDecodeError:
        text = f"damaged: {spec[:60]!r}"
    if length == end:
        return Record(queue, key, due_at, due_at, None, None, revision, fence, attempt, text, state)
    ready_at, locked_until, flags = _LEASE.unpack_from(row, end)
    return Record(
        queue,
        key,
        due_at,
        ready_at,
        locked_until if flags & _HAS_END else None,
        row[end + _LEASE_SIZE : length].decode(errors="replace") if flags & _HAS_HOLDER else None,
        revision,
        fence,
        attempt,
        text,
        state,
    )


def _places(row: bytes) -> tuple[int, int, int, int, int, int, int] | None:
    """The fixed fields of a row, and the offsets of revision, state and spec. None if the row is damaged, by the same
    rules as in ``common.lua``."""
    last = len(row) - 1
    if last < _LEAST_ROW - 1 or row[last] > 1:
        return None
    length, due_at, fence, attempt, revision_length = _FIXED.unpack_from(row)
    end = _FIXED_SIZE + revision_length
    state_at = length + _LENGTH_SIZE
    if (length != end and length < end + _LEASE_SIZE) or state_at > last:
        return None
    spec_at = state_at + _LENGTH.unpack_from(row, length)[0]
    return None if spec_at > last else (length, due_at, fence, attempt, end, state_at, spec_at)


def _damaged(queue: str, key: str, row: bytes) -> Record:
    """The record of an unreadable row. It has a revision, so that it can be overwritten."""
    end = _FIXED_SIZE + row[_FIXED_SIZE - 1] if len(row) >= _FIXED_SIZE else _FIXED_SIZE
    revision = decoded(row[_FIXED_SIZE:end])
    return Record(queue, key, 0, 0, None, None, revision, 0, 0, f"damaged: {row[:60]!r}")


def member_of(queue: str, key: str) -> bytes:
    """The member that stands for a key in its dynamic queue: the key without the queue's name, if it begins with
    that."""
    if key.startswith(queue) and key[len(queue) : len(queue) + 1] == ":":
        return encoded(key[len(queue) :])
    return b"\0" + encoded(key)


def members_with_prefix(queue: str, prefix: str) -> tuple[bytes, bytes]:
    """Where the members of keys with a prefix begin and end, as for ZRANGEBYLEX.

    Nearly all keys begin with the queue's name and a colon; the members of the others begin with NUL.
    """
    own = f"{queue}:"
    if prefix.startswith(own):
        member = prefix[len(queue) :].encode()
        return b"[" + member, b"(" + member + b"\xff"
    if own.startswith(prefix):  # all of the usual keys match, and possibly others
        return b"-", b"+"
    member = b"\0" + prefix.encode()
    return b"[" + member, b"(" + member + b"\xff"


def key_of(queue: str, member: bytes) -> str:
    return queue + decoded(member) if member[:1] == b":" else decoded(member[1:])


Page = list[tuple[bytes, Stored]]
"""Members and their rows."""


def pages(reply: bytes) -> Iterator[tuple[int, Page]]:
    """The reply to a claim, split by queue: the number of the queue, and its members and rows."""
    at = 0
    while at < len(reply):
        queue, count = _COUNTS.unpack_from(reply, at)
        found, at = _page(reply, at + _COUNTS.size, count)
        yield queue, found


def page(reply: bytes) -> Page:
    """A reply that consists of a single page."""
    return _page(reply, 0, None)[0]


def _page(reply: bytes, at: int, count: int | None) -> tuple[Page, int]:
    """
    :param count: the number of entries; None for all up to the end.
    :return: the entries, and the offset behind them.
    """
    found: Page = []
    end, lengths, head = len(reply), _LENGTHS.unpack_from, _LENGTHS.size
    while len(found) != count and at < end:
        member_length, row_length = lengths(reply, at)
        at += head
        row_at = at + member_length
        member, at = reply[at:row_at], row_at + row_length
        row, apart = reply[row_at:at], None
        if row[-1:] == _APART:
            apart, at = _apart(reply, at)
        found.append((member, (row, apart)))
    return found, at


def _apart(reply: bytes, at: int) -> tuple[bytes, int]:
    """A spec that is stored separately, and the offset behind it."""
    at, end = at + _LENGTH_SIZE, at + _LENGTH_SIZE + _LENGTH.unpack_from(reply, at)[0]
    return reply[at:end], end


def rows(reply: bytes) -> Iterator[Stored | None]:
    """The row of each record that was read; None if there is no record."""
    at = 0
    while at < len(reply):
        (length,) = _LENGTH.unpack_from(reply, at)
        at += _LENGTH_SIZE
        if length == 0:
            yield None
        else:
            row, apart = reply[at : at + length - 1], None
            at += length - 1
            if row[-1:] == _APART:
                apart, at = _apart(reply, at)
            yield row, apart


def counts(reply: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(reply) // 4}I", reply)
