"""Cron expressions: agreement with croniter in UTC, and refusals."""

from __future__ import annotations

import gc
import pickle
import re
import string
import traceback
import tracemalloc
from collections.abc import Callable
from itertools import takewhile

import pytest
from croniter import CroniterBadCronError, CroniterBadDateError, croniter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyncette._schedules.cron import parse
from pyncette._schedules.fields import Fields
from pyncette.schedule import Cron, CronError, make_schedule

FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week", "second", "year")
NAMES = {
    3: ("jan", "FEB", "mar", "Apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    4: ("sun", "MON", "tue", "Wed", "thu", "fri", "sat"),
}
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7), (0, 59), (1970, 2099))
Walked = Callable[[str], str]

# 2000 to 2060, so that 2100, which is not a leap year, is ahead.
MOMENTS = st.integers(946_684_800, 2_840_140_800)


def value(field: int) -> st.SearchStrategy[str]:
    low, high = BOUNDS[field]
    numbers = st.integers(low, high).map(str)
    return st.one_of(numbers, st.sampled_from(NAMES[field])) if field in NAMES else numbers


def entry(field: int) -> st.SearchStrategy[str]:
    steps = st.integers(1, 40)
    kinds = [
        value(field),
        value(field),
        st.tuples(value(field), value(field)).map("-".join),
        st.tuples(value(field), value(field), steps).map(lambda three: "{}-{}/{}".format(*three)),
        st.tuples(value(field), steps).map(lambda two: "{}/{}".format(*two)),
        steps.map("*/{}".format),
    ]
    if field == 2:
        kinds.append(st.just("L"))
    return st.one_of(*kinds)


def whole_field(field: int) -> st.SearchStrategy[str]:
    listed = st.lists(entry(field), min_size=1, max_size=3).map(",".join)
    kinds = [st.just("*"), listed, listed]
    if field == 2:
        kinds += [st.integers(1, 31).map("{}W".format), st.just("?")]
    if field == 4:
        nth = st.one_of(
            st.tuples(value(4), st.integers(1, 5)).map(lambda two: "{}#{}".format(*two)),
            st.integers(0, 6).map("L{}".format),
        )
        kinds += [st.lists(nth, min_size=1, max_size=2).map(",".join), st.just("?")]
    return st.one_of(*kinds)


TEXTS = st.integers(5, 7).flatmap(lambda count: st.tuples(*map(whole_field, range(count))).map(" ".join))


def by_croniter(text: str, start: int, count: int) -> list[int | None]:
    """The next occurrences in UTC; None if there are no more."""
    iterator = croniter(text, start, max_years_between_matches=150)
    found: list[int | None] = []
    for _ in range(count):
        try:
            found.append(int(iterator.get_next(float)))
        except CroniterBadDateError:
            return [*found, None]
    return found


def by_us(text: str, start: int, count: int) -> list[int | None]:
    cron = Cron(text)
    found: list[int | None] = []
    moment = start * 1_000_000
    for _ in range(count):
        following = cron.following(moment, 0)
        if following is None:
            return [*found, None]
        found.append(following // 1_000_000)
        moment = following
    return found


def names_a_field(message: str) -> bool:
    return any(f"{field} field" in message for field in FIELDS) or "write five fields" in message


def check_agreement(walked: Walked, text: str, start: int, count: int = 4) -> None:
    refusal = ""
    found: list[int | None] = []
    try:
        found = by_us(text, start, count)
    except CronError as error:
        refusal = str(error)
    if refusal:
        assert names_a_field(refusal)
    else:
        assert found == by_croniter(walked(text), start, count)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS, start=MOMENTS)
@example(text="0 0 29 2 *", start=946_684_800 + 97 * 365 * 86400)  # 2100 has no February 29
@example(text="0 0 29 2 1", start=0)
@example(text="0 0 * 2 1#5", start=946_684_800)
@example(text="0 0 31 2 1", start=946_684_800)
@example(text="0 0 30 2 *", start=946_684_800)
@example(text="0 0 1 1 * 0 2099", start=946_684_800)
@example(text="0 0 1 1 * 0 2001,2003", start=946_684_800)
@example(text="0 0 29 2 * 0 2021-2023", start=946_684_800)
@example(text="59 23 31 12 * 59 1999", start=946_684_800)
@example(text="0 0 1-31 * */2", start=946_684_800)
@example(text="0 0 1W,15 * *", start=946_684_800)
@example(text="0 0 31W * *", start=946_684_800)
@example(text="0 0 1W * *", start=946_684_800)
@example(text="0 0 * * 0-6,1#2", start=946_684_800)
@example(text="0 22-2/3 * NOV-feb SAT-mon", start=946_684_800)
@example(text="59/15 5-5 * * *", start=946_684_800)
@example(text="* * * * * *", start=946_684_800)
@example(text="@Hourly", start=946_684_801)
@example(text="@yearly", start=946_684_801)
def test_agrees_with_croniter_in_utc(walked: Walked, text: str, start: int) -> None:
    check_agreement(walked, text, start)


@settings(deadline=None)
@given(text=TEXTS, start=MOMENTS, fraction=st.integers(1, 999_999))
def test_a_fraction_of_a_second_changes_nothing(text: str, start: int, fraction: int) -> None:
    try:
        cron = Cron(text)
    except CronError:
        return
    on_the_second = cron.following(start * 1_000_000, 0)
    assert cron.following(start * 1_000_000 + fraction, 0) == on_the_second


CHARACTERS = [*"0123456789*,-/#?@LWHRlwx ()", "MON", "sun", "feb", "99", "\u00a0", "٣"]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A text that differs slightly from a valid expression."""
    text = draw(st.one_of(TEXTS, st.sampled_from(["@daily", "0 0 1,15 * MON-FRI", "5 4 L * SUN#2", "H R(0-5) * * L5"])))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 2))
        text = text[:at] + draw(st.sampled_from(["", *CHARACTERS])) + text[at + cut :]
    return text


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.one_of(
        mutated(),
        st.text(alphabet="0123456789*,-/#?@LWHR adefhjmnopstuv", max_size=20),
        st.lists(st.text(alphabet="0123456789*,-/#LWHR", min_size=1, max_size=5), min_size=5, max_size=7).map(" ".join),
        st.text(max_size=12),
    )
)
@example(text="")
@example(text="*")
@example(text="@reboot")
@example(text="0 0 " + "9" * 5000 + " * *")
@example(text="0-\ud800 * * * *")
@example(text="H H * * *")
@example(text="* * * * * R(1-5)/2")
@example(text="0 0 * * l")
@example(text="0 0 l-5 * *")
@example(text="0 0 */0 * *")
@example(text="0 0 * * 1#6")
@example(text="0 0 ?,1 * *")
@example(text="? 0 1 * *")
@example(text="0 0 32W * *")
@example(text="0 0 -1 * *")
def test_fuzz(walked: Walked, text: str) -> None:
    """Every text is accepted and agrees with croniter, or is refused with a message that names the field."""
    check_agreement(walked, text, 1_750_000_000, count=2)


@pytest.mark.parametrize(
    "text, field, advice",
    [
        ("x * * * *", "minute", "0-59"),
        ("* 24 * * *", "hour", "0-23"),
        ("* * 0 * *", "day-of-month", "1-31"),
        ("* * * 13 *", "month", "JAN-DEC"),
        ("* * * * 8", "day-of-week", "SUN-SAT"),
        ("0 0 12 * * 2025", "second", "the second is the last one"),
        ("0 0 12 * * 0 1969", "year", "1970-2099"),
        ("H * * * *", "minute", "differ between processes"),
        ("* R(0-5)/2 * * *", "hour", "differ between processes"),
        ("0 0 * * 1,2#1", "day-of-week", "does not support mixing"),
        ("0 0 * * *,2#1", "day-of-week", "declare a task for each"),
        ("0 0 1 * 2#1", "day-of-week", "write * for one of them"),
        ("0 0 15W * 1", "day-of-month", "write * for one of them"),
    ],
)
def test_a_bad_field_is_named(text: str, field: str, advice: str) -> None:
    with pytest.raises(CroniterBadCronError, match=f"(?s){field} field.*{re.escape(advice)}") as caught:
        Cron(text)
    assert repr(text) in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("text, count", [("", 0), ("* * * *", 4), ("1 2 3 4 5 6 7 8", 8), ("@reboot", 1)])
def test_a_wrong_number_of_fields_is_reported(text: str, count: int) -> None:
    with pytest.raises(CronError, match=f"has {count} field{'s' * (count != 1)}: write five fields"):
        Cron(text)


@pytest.mark.parametrize("text", ["61 * * * *", "* * * * x", "*"])
def test_a_refusal_is_one_error(text: str) -> None:
    """The message includes croniter's; its traceback would add nothing."""
    with pytest.raises(CronError) as caught:
        Cron(text)
    assert "".join(traceback.format_exception(caught.value)).count("Traceback") == 1


def test_a_text_that_only_fails_as_a_whole_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str, start: int) -> None:
        if text != "* * * * *" and text.count("*") < 4:
            raise ValueError("these don't go together")

    monkeypatch.setattr("pyncette._schedules.cron.croniter", refuse)
    with pytest.raises(CronError, match="'1 2 3 4 5' can't be read: these don't go together"):
        parse.__wrapped__("1 2 3 4 5")


def test_the_last_occurrence_is_in_the_year_9999() -> None:
    cron = Cron("0 0 * * *")
    last = 253_402_214_400_000_000  # 9999-12-31
    assert cron.following(last - 1, 0) == last
    assert cron.following(last, 0) is None
    assert Cron("0 0 1 1 *").following(last, 0) is None
    assert Cron("* * * * * *").following(last + 86_398_000_000, 0) == last + 86_399_000_000
    assert Cron("* * * * * *").following(last + 86_399_000_000, 0) is None


def test_years_run_out() -> None:
    cron = Cron("0 0 1 1 * 0 2001,2003")
    found = takewhile(lambda moment: moment is not None, by_us(cron.text, 0, 9))
    assert list(found) == [978_307_200, 1_041_379_200]


def test_years_before_1970_and_after_2099_are_as_good_as_others() -> None:
    for start in (-62_135_596_800, -2_208_988_800, 4_102_444_800, 13_569_465_600):  # years 1, 1900, 2100, 2400
        for text in ("0 0 29 2 *", "30 4 L * *", "0 12 * * 5#5", "15 3 1 */5 1-5"):
            assert by_us(text, start, 8) == by_croniter(text, start, 8)


def test_instances_share_parsed_expressions() -> None:
    parse.cache_clear()
    gc.collect()
    before = sum(isinstance(thing, Fields) for thing in gc.get_objects())
    tracemalloc.start()
    try:
        every = [Cron(f"{number % 50} {number // 50 % 2} * * *") for number in range(10_000)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    parsed = {id(cron._fields) for cron in every}
    assert len(parsed) == 100
    assert sum(isinstance(thing, Fields) for thing in gc.get_objects()) - before <= 100
    # An instance and its text. The parsed form alone takes more than 500 bytes.
    assert size / len(every) < 200


def test_equal_declarations_share_an_object() -> None:
    first = make_schedule(schedule="0 5 * * *", timezone="Europe/Berlin")
    assert make_schedule(schedule="0 5 * * *", timezone="Europe/Berlin") is first


def test_cron_is_a_value() -> None:
    cron = Cron("0 0 * * *", "Europe/Berlin")
    assert cron == Cron("0 0 * * *", "Europe/Berlin")
    assert hash(cron) == hash(Cron("0 0 * * *", "Europe/Berlin"))
    assert cron != Cron("0 0 * * *")
    assert repr(cron) == "Cron(text='0 0 * * *', timezone='Europe/Berlin')"
    copy = pickle.loads(pickle.dumps(cron))  # noqa: S301 - pickled just now
    assert copy == cron
    assert copy.following(0, 0) == cron.following(0, 0)
    with pytest.raises(AttributeError):
        setattr(cron, "text", "1 1 * * *")  # noqa: B010 - mypy would refuse the assignment


def test_texts_with_many_characters_of_the_alphabet_do_not_hang(walked: Walked) -> None:
    text = " ".join([",".join(string.digits * 3)] * 5).replace("0", "1").replace("8", "1").replace("9", "1")
    check_agreement(walked, text, 1_750_000_000)
