"""What has happened to an instance, as text that keeps what this version does not know."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._tasks.spec import Spec, encode, keep_unknown
from pyncette._tasks.state import last_settled, settled
from pyncette.schedule import Interval

fences = st.integers(-(2**63), 2**63 - 1)


@given(fences, fences)
def test_the_fence_that_was_settled_last(first: int, second: int) -> None:
    state = settled("", first)
    assert last_settled(state) == first
    assert last_settled(settled(state, second)) == second
    assert json.loads(state) == {"v": 1, "fence": first}


def test_nothing_was_settled() -> None:
    assert last_settled("") is None
    assert last_settled('{"v":1}') is None
    assert last_settled('{"v":1,"fence":"text"}') is None


@pytest.mark.parametrize("damaged", ["x", "[]", "null", "[" * 100_000])
def test_a_damaged_state_begins_anew(damaged: str) -> None:
    assert last_settled(damaged) is None
    assert settled(damaged, 7) == settled("", 7)


def test_what_a_later_version_wrote_is_kept() -> None:
    later = '{"v":1,"fence":3,"runs":[1,2]}'
    assert json.loads(settled(later, 4)) == {"v": 1, "fence": 4, "runs": [1, 2]}
    assert last_settled(later) == 3


def test_a_new_spec_keeps_what_it_does_not_know() -> None:
    old = '{"v":1,"every":5,"start_at":9,"args":{"a":1}}'
    new = encode(Spec(Interval(7)))
    assert json.loads(keep_unknown(old, new)) == {"v": 1, "every": 7, "start_at": 9}
    assert keep_unknown(encode(Spec(Interval(5), '{"a":1}')), new) == new


@pytest.mark.parametrize("damaged", ["", "x", "[]", "7", "[" * 100_000])
def test_a_damaged_spec_has_nothing_to_keep(damaged: str) -> None:
    assert keep_unknown(damaged, '{"v":1,"every":7}') == '{"v":1,"every":7}'
