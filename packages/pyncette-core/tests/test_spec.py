from __future__ import annotations

import contextlib
import enum
import json
import math
import tracemalloc
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
    text.encode()  # every storage accepts valid UTF-8, whatever the arguments contain
    spec, decoded = decode(text)
    assert (spec.schedule, spec.since, decoded) == (schedule, since, args)


def test_every_decoding_returns_its_own_arguments() -> None:
    text = encode(Spec(Interval(1), encode_args({"a": [1]})))
    first, second = decode(text)[1], decode(text)[1]
    first["a"].append(2)
    assert second == {"a": [1]}


def test_tuples_become_lists() -> None:
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
    loop.append({"x": [1, loop]})
    with pytest.raises(ValueError, match="argument a contains itself"):
        encode_args({"a": loop})


def nested(levels: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(levels - 1):
        deep = [deep]
    return deep


@pytest.mark.parametrize("levels", [201, 100_000])
def test_arguments_nested_too_deeply(levels: int) -> None:
    with pytest.raises(ValueError, match=f"argument a is nested {levels:,} levels deep, and at most 200 are possible"):
        encode_args({"a": nested(levels)})


def test_arguments_nested_as_deeply_as_possible() -> None:
    args = {"a": nested(200), "b": [{"c": ()}, {"c": nested(198)}]}
    assert decode_args(encode_args(args)) == {**args, "b": [{"c": []}, {"c": nested(198)}]}


def test_arguments_are_checked_in_linear_time_and_space() -> None:
    """Formatting the path to each item would take 50,000 times 50 KB."""
    args = {"body": {"k" * 50_000: [0] * 50_000}}
    tracemalloc.start()
    try:
        text = encode_args(args)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decode_args(text) == args
    assert peak < 50 * len(text)


def test_a_huge_key_or_number_is_not_repeated_in_the_message() -> None:
    for args in ({"a": {"k" * 50_000: [math.nan]}}, {"a": {10**5_000: 1}}, {"a": 10**5_000}):
        with pytest.raises(ValueError, match=r"argument|Pass large numbers as text") as e:
            encode_args(args)
        assert len(str(e.value)) < 400


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
def test_any_text_is_decoded_or_refused(text: str) -> None:
    with contextlib.suppress(UndecodableSpec):
        decode(text)


def test_occurrences_before_a_change_of_schedule_are_not_caught_up_with() -> None:
    changed = Spec(Interval(10), since=1000)
    assert changed.following(0) == 1010
    assert changed.following(1010) == 1020
