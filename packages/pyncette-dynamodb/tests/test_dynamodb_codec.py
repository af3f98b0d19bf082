"""The keys of records in the table: unique, and constant for each record."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette.dynamodb.codec import SHARDS, Layout
from pyncette.record import Ref

names = st.text(st.sampled_from("a:0s"), min_size=1, max_size=6) | st.sampled_from(["static", ":static", "0:a"])
prefixes = st.text(st.sampled_from("a:0"), max_size=4) | st.sampled_from(["", ":", "static", "a:0", "a:static"])


@st.composite
def refs(draw: st.DrawFn) -> Ref:
    queue = draw(names)
    return Ref(queue, draw(st.just(queue) | names.map(lambda name: f"{queue}:{name}")))


@given(prefixes, prefixes, refs(), refs())
def test_different_records_have_different_places(one: str, other: str, a: Ref, b: Ref) -> None:
    first, second = Layout(one), Layout(other)
    if (one, a) != (other, b) and (a.key != b.key or one != other):
        assert first.key(a) != second.key(b)
    if one != other or (a.queue != b.queue and not (a.static and b.static)):
        assert first.place(a) != second.place(b)


@given(prefixes, refs())
def test_a_place_identifies_the_record(prefix: str, ref: Ref) -> None:
    layout = Layout(prefix)
    assert layout.ref(layout.key(ref)) == ref
    assert layout.place(ref) in ([layout.static] if ref.static else layout.places(ref.queue))


@pytest.mark.parametrize(
    "ref, place",
    [
        (Ref("report", "report:alice"), ":3:report"),
        (Ref("report", "report:bob"), ":2:report"),
        (Ref("report", "report:Zoë"), ":0:report"),
        (Ref("a::b", "a::b:c"), ":3:a::b"),
        (Ref("report:7", "report:7:alice"), ":0:report:7"),
        (Ref("a::b:7", "a::b:7:x"), ":0:a::b:7"),
        (Ref("cleanup", "cleanup"), ":static"),
    ],
)
def test_places_never_change(ref: Ref, place: str) -> None:
    """Otherwise existing records would no longer be found."""
    assert Layout("").place(ref) == place
    assert Layout("my:app").place(ref) == "my::app" + place


def test_instances_are_spread_evenly() -> None:
    layout = Layout("")
    counts = Counter(layout.place(Ref("report", f"report:user-{n:08}")) for n in range(0, 400_000, 10))
    assert len(counts) == SHARDS
    assert max(counts.values()) < 1.05 * 40_000 / SHARDS


def test_the_places_of_a_queue() -> None:
    layout = Layout("")
    assert len(layout.places("report")) == len(layout.places("a::b")) == SHARDS
    assert layout.places("report:7") == [":0:report:7"]
