"""Hypothesis strategies for everything that a store must preserve exactly."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pyncette.record import HELD, Band, Record

from .base import NOW

MAX_KEY_BYTES = 1024

LOOKALIKES = (
    "a", "A", "\uff21", "\u00e4", "a\u0308", "\u00c4", "\u00e5", "a\u030a", "\u212b", "a ", " a", "a\t", "a\n",
    "a\u00a0", "a\u200d", "a\u200b", "a\ufeff", "\u00df", "ss", "SS", "i", "I", "\u0131", "\u0130", "\ufb01", "fi",
    "1", "\u00b9", "\u0661", "01", "\u03c3", "\u03c2", "\u03a3", "\u3042", "\u30a2", "\u1100\u1161", "\uac00",
    "", " ", "%", "_", "?", "*", "[a]", "{a}", "'", "''", '"', "`", "\\", "\\n", "$1", "#", "/", "..", "a;--", "a,b",
    "\x01", "\x1f", "\x7f", "\x85", "\u2028", "\ud7ff", "\ue000", "\ufffd", "\uffff", "\U0001f600", "\U0010ffff",
    "null", "None", "::", "::::", "a::", "::a",
)  # fmt: skip
"""Names that a collation, a pattern or padding may confuse with each other, or with something else."""

_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts: SearchStrategy[str] = st.text(_characters)


def within(limit: int) -> st.SearchStrategy[str]:
    """Any text of at most ``limit`` bytes."""
    short = st.text(_characters, max_size=30)
    long = st.builds(
        lambda piece, count: (piece * (count // max(len(piece), 1)))[:count],
        st.text(_characters, min_size=1, max_size=3),
        st.integers(0, limit),
    )
    return st.one_of(st.sampled_from(LOOKALIKES), short, long).map(lambda text: _cut(text, limit))


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")


times: SearchStrategy[int] = st.one_of(
    st.integers(NOW - 10**12, NOW + 10**12),
    st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),
    st.sampled_from(
        [*(band.at(NOW) for band in Band), HELD, 2**63 - 1, -1, 0, 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**53 + 1]
    ),
)
tokens: SearchStrategy[str] = st.text(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", min_size=1, max_size=64
)
fences: SearchStrategy[int] = st.one_of(
    st.integers(0, 2**62), st.sampled_from([0, 1, 2**53, 2**53 + 1, 2**62 - 1, 2**62])
)
specs: SearchStrategy[str] = st.one_of(
    texts,
    st.builds(lambda piece, count: piece * count, st.text(_characters, min_size=1, max_size=5), st.integers(0, 2000)),
    st.sampled_from(["{}", "null", "\\u0000", '{"a": "\\ud800"}', " leading and trailing ", "\r\n", "\n"]),
)
states: SearchStrategy[str] = st.one_of(st.just(""), texts, st.sampled_from(['{"v":1,"fence":1}', " ", "\n"]))


@st.composite
def places(draw: st.DrawFn) -> tuple[str, str]:
    """A queue and a key in it, of an instance or of a static task."""
    key = draw(within(MAX_KEY_BYTES).filter(bool))
    if draw(st.booleans()):
        return key, key
    queue = draw(within(MAX_KEY_BYTES // 2).filter(bool))
    return queue, _cut(f"{queue}:{key}", MAX_KEY_BYTES)


@st.composite
def records(draw: st.DrawFn, place: tuple[str, str] | None = None) -> Record:
    """A record with any values, whether or not the state machine would write it."""
    queue, key = draw(places()) if place is None else place
    return Record(
        queue=queue,
        key=key,
        due_at=draw(times),
        ready_at=draw(times),
        locked_until=draw(st.none() | times),
        locked_by=draw(st.none() | tokens),
        revision=draw(tokens),
        fence=draw(fences),
        attempt=draw(st.integers(0, 2**31 - 1)),
        spec=draw(specs),
        state=draw(states),
    )
