"""How records and moments are encoded. Needs no server."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette import lease
from pyncette.errors import RecordRefusedException
from pyncette.record import HELD, Band, Record
from pyncette.redis import codec
from pyncette.testing.contract import strategies
from pyncette.testing.contract.base import NOW, record

EXACT = 2**53
moments = st.one_of(strategies.times, st.integers(-(2**63), 2**63 - 1))


@given(strategies.records())
def test_rows(one: Record) -> None:
    assert codec.record(one.queue, one.key, stored(one)) == one


@pytest.mark.parametrize("length", [0, codec.MAX_INLINE, codec.MAX_INLINE + 1])
def test_large_specs_are_stored_separately(length: int) -> None:
    one = record(spec="x" * length)
    row, apart = stored(one)
    assert (len(row) < length, apart is not None) == (length > codec.MAX_INLINE,) * 2
    assert codec.record(one.queue, one.key, (row, apart)) == one


def stored(one: Record) -> codec.Stored:
    """What the server stores for a record that is inserted."""
    tail, apart = codec.tail(one.spec.encode())
    return codec.head(one) + tail, apart or None


@given(strategies.records(), strategies.tokens, strategies.tokens)
def test_header_of_a_lease(one: Record, token: str, holder: str) -> None:
    """The parts that a claim sends make up the header that the record has afterwards."""
    until = NOW + 1
    claimed = lease.claim(one, now=NOW, locked_until=until, token=token, holder=holder)
    tail = codec.leased_tail(token, until, holder)
    expected = codec.head(replace(claimed, state=""))[:-4]
    assert codec.leased_length(tail) + expected[2:22] + tail == expected


def test_an_unleased_record_is_short() -> None:
    waiting = record(ready_at=NOW, revision="0123456789abcdef")
    assert len(codec.head(waiting)) == 43
    assert len(codec.head(replace(waiting, locked_until=NOW, locked_by=""))) == 60


@pytest.mark.parametrize(
    "fields",
    [{"revision": "x" * 256}, {"attempt": 2**32}, {"locked_by": "x" * 60_001}],
    ids=lambda fields: next(iter(fields)),
)
def test_values_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(RecordRefusedException, match=r"\d"):
        codec.head(replace(record(), **fields))  # type: ignore[arg-type] # names are checked at run time


@given(moments, moments)
def test_nothing_is_ready_early(ready_at: int, now: int) -> None:
    """The index holds doubles, so their rounding matters. Between 1684 and 2255 nothing is late either."""
    by_index = float(codec.score(ready_at)) <= float(codec.score_until(now))
    assert ready_at <= now or not by_index
    if -EXACT <= ready_at <= EXACT:
        assert by_index is (ready_at <= now)


@given(moments, moments)
def test_the_index_preserves_the_order(one: int, other: int) -> None:
    if one <= other:
        assert float(codec.score(one)) <= float(codec.score(other))


@given(st.sampled_from(Band), st.integers(0, 2**58))
def test_held_records_have_exact_scores(band: Band, moment: int) -> None:
    ready_at = band.at(moment)
    assert int(codec.score(ready_at)) == ready_at == int(float(ready_at))
    assert ready_at >= HELD


@given(strategies.records(), st.integers(0, 200))
def test_truncated_rows(one: Record, length: int) -> None:
    """A damaged row is still read as a record, whose spec says that it is damaged."""
    row, apart = stored(one)
    found = codec.record(one.queue, one.key, (row[:length], apart))
    assert found.ref == one.ref
    if length < len(codec.head(one)):
        assert found.spec.startswith("damaged")


def test_invalid_utf8_affects_only_its_own_field() -> None:
    one = lease.claim(record(state="state"), now=NOW, locked_until=NOW + 1, token="token", holder="holder")
    row, _ = stored(one)
    damaged = b"\xff" + one.spec[1:].encode()
    for field, old, new in (
        ("state", b"state", "\ufffdtate"),
        ("locked_by", b"holder", "\ufffdolder"),
        ("revision", b"token", "\udcffoken"),  # compared byte by byte, so nothing may be replaced
        ("spec", one.spec.encode(), f"damaged: {damaged!r}"),
    ):
        found = codec.record(one.queue, one.key, (row.replace(old, b"\xff" + old[1:]), None))
        assert found == replace(one, **{field: new})  # type: ignore[arg-type] # names are checked at run time
    assert codec.encoded("\udcffoken") == b"\xffoken"


def test_a_lost_spec() -> None:
    one = record(spec="x" * 1000)
    found = codec.record(one.queue, one.key, (stored(one)[0], b""))
    assert found == replace(one, spec=found.spec)
    assert found.spec.startswith("damaged")


@given(strategies.places())
def test_members(place: tuple[str, str]) -> None:
    queue, key = place
    member = codec.member_of(queue, key)
    assert codec.key_of(queue, member) == key
    if key.startswith(f"{queue}:"):
        assert len(member) == len(key.encode()) - len(queue.encode())


@given(st.text(), st.text(), st.text())
def test_members_are_unique(queue: str, one: str, other: str) -> None:
    names = {one, other, f"{queue}:{one}", f"{queue}{other}", f":{one}"}
    assert len({codec.member_of(queue, name) for name in names}) == len(names)
