from __future__ import annotations

import contextlib
import enum
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._tasks.spec import Spec, UndecodableSpec, decode, decode_args, encode, encode_args
from pyncette.schedule import Cron, Interval, Once, Schedule

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ARGS = st.dictionaries(st.text(), JSON, max_size=4)
SCHEDULES: st.SearchStrategy[Schedule] = st.one_of(
    st.sampled_from([Cron("* * * * *", None), Cron("30 2 * * *", "Europe/Berlin"), Cron("@hourly", "EST5EDT")]),
    st.builds(Interval, st.integers(1, 10**15)),
    st.builds(Once, st.integers(-(10**16), 2 * 10**17)),
)


@given(SCHEDULES, ARGS, st.none() | st.integers(0, 10**17))
def test_round_trip(schedule: Schedule, args: dict[str, Any], since: int | None) -> None:
    text = encode(Spec(schedule, encode_args(args), since))
    text.encode()  # every store takes text that is UTF-8, whatever the arguments hold
    spec, decoded = decode(text)
    assert (spec.schedule, spec.since, decoded) == (schedule, since, args)


def test_every_decoding_gives_arguments_of_its_own() -> None:
    text = encode(Spec(Interval(1), encode_args({"a": [1]})))
    first, second = decode(text)[1], decode(text)[1]
    first["a"].append(2)
    assert second == {"a": [1]}


def test_tuples_arrive_as_lists() -> None:
    assert decode_args(encode_args({"a": (1, (2,))})) == {"a": [1, [2]]}


@pytest.mark.parametrize(
    "args, says",
    [
        ({"a": math.nan}, "argument a is nan"),
        ({"a": [1, -math.inf]}, r"argument a\[1\] is -inf"),
        ({"a": {"b": {1: 2}}}, r"argument a\['b'\] has the key 1; keys must be strings: write '1'"),
        ({"a": {None: 2}}, "keys must be strings"),
        ({"a": object()}, "of type object"),
        ({"a": {"x"}}, "of type set"),
        ({"a": b"x"}, "of type bytes"),
    ],
)
def test_arguments_that_are_not_json(args: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encode_args(args)


def test_arguments_that_contain_themselves() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="can't be written as JSON"):
        encode_args({"a": loop})


def test_arguments_nested_too_deeply() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="can't be written as JSON"):
        encode_args({"a": deep})


def test_an_enum_of_strings_is_its_string() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    assert decode_args(encode_args({"a": Colour.RED})) == {"a": "red"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", "{}", '{"v":1}', '{"v":2,"every":1}', '{"v":1,"every":"x"}', '{"v":1,"every":1,"args":[]}',
     '{"v":1,"every":1,"since":"x"}', '{"v":1,"cron":"no cron"}', '{"v":1,"cron":"* * * * *","tz":"No/Where"}',
     '{"v":1,"cron":5}', "[" * 100_000],
)  # fmt: skip
def test_damaged_texts(text: str) -> None:
    with pytest.raises(UndecodableSpec):
        decode(text)


@given(st.text() | JSON.map(json.dumps))
def test_whatever_is_stored_decodes_or_is_refused(text: str) -> None:
    with contextlib.suppress(UndecodableSpec):
        decode(text)


def test_occurrences_before_a_change_of_schedule_are_not_caught_up_with() -> None:
    changed = Spec(Interval(10), since=1000)
    assert changed.following(0, 1000, fast_forward=False) == 1010
    assert changed.following(1010, 5000, fast_forward=False) == 1020
    assert changed.following(1010, 5000, fast_forward=True) == 5000
