"""When occurrences come due: jitter, and skips in closed form."""

from __future__ import annotations

import datetime
import time
from collections import Counter

import pytest

from pyncette import CatchUp, Policies
from pyncette._lifecycle.choice import choose
from pyncette._lifecycle.moments import Moments, Window
from pyncette._tasks.spec import Spec, encode
from pyncette.record import Record
from pyncette.schedule import Cron, Interval, Schedule

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
NOW = 1_800_000_000 * SECOND


def test_a_herd_is_spread_evenly() -> None:
    """χ² of 100,000 instances at 09:00 over 20 parts of ten minutes; random chance exceeds 43.8 once in a thousand."""
    spec, policies = Spec(Cron("0 9 * * *")), Policies(jitter=datetime.timedelta(minutes=10))
    due = spec.first(NOW)
    assert due is not None
    parts = Counter(
        (Moments(spec, policies, f"report:user-{number}").ready(due) - due) // (30 * SECOND)
        for number in range(100_000)
    )
    assert set(parts) == set(range(20))
    assert sum((count - 5_000) ** 2 / 5_000 for count in parts.values()) < 43.8


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_the_same_offset_each_day(zone: str) -> None:
    spec, policies = Spec(Cron("0 9 * * *", zone)), Policies(jitter=datetime.timedelta(minutes=10))
    moments, due, offsets = Moments(spec, policies, "report:a"), NOW, set[int]()
    for _ in range(400):
        following = moments.following(due)
        assert following is not None
        due = following
        offsets.add(moments.ready(due) - due)
    assert len(offsets) == 1


def test_order_is_kept() -> None:
    """However long the jitter, an occurrence comes due before the next one."""
    spec, policies = Spec(Cron("*/7 * * * *")), Policies(jitter=datetime.timedelta(days=1))
    for key in ("a", "b", "c"):
        moments, due = Moments(spec, policies, key), NOW
        for _ in range(50):
            following = moments.following(due)
            assert following is not None
            assert following <= moments.ready(following) < (moments.following(following) or 0)
            due = following


@pytest.mark.parametrize("schedule", [Cron("* * * * * *"), Cron("* * * * * *", "Europe/Berlin"), Interval(SECOND)])
def test_thirty_years_of_seconds_take_no_time(schedule: Schedule) -> None:
    spec = Spec(schedule)
    then = NOW - 30 * 365 * DAY
    record = Record("t", "t:a", then, then, None, None, "r", 0, 1, encode(spec))
    policies = Policies(catch_up=CatchUp.LATEST, max_lateness=datetime.timedelta(hours=1))
    chosen = choose(record, spec, policies, NOW, begun=False)  # fills the cache of the zone's offsets
    took = []
    for _ in range(5):
        began = time.process_time()
        chosen = choose(record, spec, policies, NOW, begun=False)
        took.append(time.process_time() - began)
    assert chosen.due_at == NOW
    assert [(skip.reason, skip.first) for skip in chosen.skips] == [("late", then), ("coalesced", NOW - 3600 * SECOND)]
    assert chosen.skips[1].count == 3600
    assert min(took) < 0.005


@pytest.mark.parametrize("jitter", [0, 3])
def test_closed_forms_equal_counting(jitter: int) -> None:
    """With and without a window of skipped occurrences."""
    spec = Spec(Interval(10 * SECOND))
    policies = Policies(jitter=datetime.timedelta(seconds=jitter)) if jitter else Policies()
    for window in (None, Window(50 * SECOND, 90 * SECOND)):
        moments = Moments(spec, policies, "t:a", window)
        left = [at * SECOND for at in range(10, 500, 10)]
        left = [at for at in left if window is None or not window.since < at <= window.until]
        for moment in range(10 * SECOND, 300 * SECOND, 1_700_000):
            first = next(at for at in left if moments.ready(at) >= moment)
            last = max(at for at in left if moments.ready(at) <= moment or at == left[0])
            assert moments.first_ready_from(left[0], moment) == first
            assert moments.last_ready_by(left[0], moment) == last
            skipped = sum(skip.count for skip in moments.skipped("late", left[0], first))
            assert skipped == len([at for at in left if at < first])


def test_occurrences_may_be_a_microsecond_apart() -> None:
    moments = Moments(Spec(Interval(1)), Policies(), "t:a", Window(5, 9))
    assert [(skip.first, skip.last) for skip in moments.skipped("late", 2, 15)] == [(2, 5), (10, 14)]


def test_an_instances_share_of_jitter_is_constant() -> None:
    """It must never change, because it decides when stored occurrences come due."""
    policies = Policies(jitter=datetime.timedelta(hours=1))
    assert Moments(Spec(Interval(DAY)), policies, "task:a").ready(NOW) - NOW == 3237044317
