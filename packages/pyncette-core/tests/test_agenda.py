"""What the poll loop does next: decision tables, and invariants."""

from __future__ import annotations

import itertools
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyncette._loop.agenda import DENSE, TURN, UNSETTLED_FACTOR, Agenda, Claim, Look, Sleep, Step, Turns, free_slots
from pyncette.record import HELD

POLL = 100
BATCH = 100
NOW = 1000


def made(*, known: int | None = None, scheduled: int | None = None) -> Agenda:
    """An agenda that knows a moment in the storage, and one that this process has stored."""
    agenda = Agenda(POLL, BATCH)
    if known is not None:
        agenda.looked(Look(NOW - POLL), known, NOW - POLL, 1, asked_at=NOW - POLL)
    if scheduled is not None:
        assert agenda.scheduled(scheduled, NOW - POLL)
    return agenda


@pytest.mark.parametrize(
    "agenda, free, step",
    [
        (made(), 3, Look(None)),
        (made(), 0, Sleep(NOW + POLL, HELD)),
        (made(), -2, Sleep(NOW + POLL, HELD)),
        (made(known=NOW), 3, Claim(3)),
        (made(known=NOW), 0, Sleep(NOW + POLL, HELD)),
        (made(scheduled=NOW), 3, Claim(3)),
        (made(scheduled=NOW), 0, Sleep(NOW + POLL, HELD)),
        (made(scheduled=NOW + 1), 3, Look(None)),
        (made(known=NOW + POLL), 3, Look(None)),  # after the next poll, so it is queried again
    ],
)
def test_the_first_step_of_a_pass(agenda: Agenda, free: int, step: Step) -> None:
    assert deepcopy(agenda).begin(NOW, free) == step  # a copy, so that the test can run twice


@pytest.mark.parametrize(
    "look, next_ready, step",
    [
        (Look(None), None, Sleep(NOW + POLL, HELD)),
        (Look(None), NOW, Claim(3)),
        (Look(None), NOW - 50, Claim(3)),
        (Look(None), NOW + 1, Sleep(NOW + 1, None)),
        (Look(None), NOW + POLL, Sleep(NOW + POLL, None)),
        (Look(None), NOW + POLL + 1, Sleep(NOW + POLL, NOW + POLL + 1)),
        (Look(NOW), None, Sleep(NOW + POLL, HELD)),
        (Look(NOW), NOW + 1, Sleep(NOW + 1, None)),
        (Look(NOW), NOW + POLL + 1, Sleep(NOW + POLL, NOW + POLL + 1)),
    ],
)
def test_the_step_after_a_look(look: Look, next_ready: int | None, step: Step) -> None:
    agenda = made()
    agenda.begin(NOW, 3)
    assert agenda.looked(look, next_ready, NOW, 3, asked_at=NOW) == step


@pytest.mark.parametrize(
    "more, free, step",
    [
        (False, 3, Look(NOW)),
        (False, 0, Look(NOW)),
        (True, 3, Sleep(NOW, None)),
        (True, 1, Sleep(NOW, None)),
        (True, 0, Sleep(NOW + POLL, None)),
    ],
)
def test_the_step_after_a_claim(more: bool, free: int, step: Step) -> None:
    agenda = made(known=NOW)
    assert agenda.begin(NOW, 3) == Claim(3)
    assert agenda.claimed(1, more, NOW, free) == step
    assert agenda.freed() is (more and free == 0)
    if more:
        assert agenda.is_over(NOW, woken=True)
        assert agenda.begin(NOW, 3) == Claim(3), "what is left is claimed without a question"


def test_the_step_after_a_failed_pass() -> None:
    assert made(known=NOW).failed(NOW) == Sleep(NOW + POLL, None)


@pytest.mark.parametrize("when", [NOW, NOW + 1])
def test_a_failed_pass_is_not_repeated_immediately(when: int) -> None:
    """What this process has scheduled stays due while the storage is unreachable."""
    agenda = made()
    agenda.scheduled(when, NOW)
    assert agenda.failed(NOW + 2) == Sleep(NOW + 2 + POLL, None)
    assert agenda.sleep() == Sleep(NOW + 2 + POLL, None)
    agenda.scheduled(NOW + 3, NOW + 2)
    assert not agenda.is_over(NOW + 3, woken=True)
    assert agenda.begin(NOW + 2 + POLL, 3) == Claim(3)


def test_before_the_first_pass() -> None:
    agenda = Agenda(POLL, BATCH)
    assert agenda.sleep() == Sleep(0, None)
    assert agenda.freed() is False


def test_a_claim_before_the_first_look() -> None:
    """One of several workers claims what this process stored before the loop began."""
    agenda = Agenda(100 * TURN, BATCH)
    agenda.turns = Turns(0, 2)
    assert agenda.scheduled(OWN, OWN - TURN)
    assert agenda.begin(OWN, 3) == Claim(3)
    assert agenda.claimed(DENSE, False, OWN, 3) == Sleep(OWN + 2 * TURN, None)


def test_scheduling_shortens_the_sleep() -> None:
    agenda = made()
    agenda.begin(NOW, 3)
    agenda.looked(Look(None), None, NOW, 3, asked_at=NOW)
    assert agenda.scheduled(NOW + 50, NOW)
    assert agenda.sleep() == Sleep(NOW + 50, NOW + 50)
    assert not agenda.scheduled(NOW + 60, NOW)
    assert not agenda.scheduled(NOW + 50, NOW)
    assert agenda.scheduled(NOW + 40, NOW)
    assert not agenda.is_over(NOW + 10, woken=True)
    assert agenda.is_over(NOW + 40, woken=False)


def test_without_free_slots_only_a_freed_slot_wakes() -> None:
    agenda = made()
    agenda.begin(NOW, 0)
    assert agenda.scheduled(NOW + 1, NOW)
    assert agenda.sleep() == Sleep(NOW + POLL, HELD)
    assert agenda.freed()
    assert agenda.is_over(NOW + 1, woken=True)


@pytest.mark.parametrize(
    "active, unsettled, free",
    [(0, 0, 10), (4, 0, 6), (10, 0, 0), (0, 10 * UNSETTLED_FACTOR, 0), (0, 35, 5), (2, 41, -1)],
)
def test_free_slots(active: int, unsettled: int, free: int) -> None:
    assert free_slots(10, active=active, unsettled=unsettled) == free


events = st.lists(
    st.tuples(
        st.integers(0, 150),  # time that passes
        st.integers(-1, 5),  # free slots
        st.none() | st.integers(-50, 300),  # the next moment in the storage, from now
        st.booleans(),  # whether a claim leaves something
        st.none() | st.integers(-50, 300),  # scheduled by this process while it sleeps, from now
    ),
    max_size=30,
)


@given(events)
def test_invariants(history: list[tuple[int, int, int | None, bool, int | None]]) -> None:
    """It never sleeps past a known moment or longer than a poll interval, never claims more than there are free slots,
    queries at least once per poll interval, and never queries in a busy loop."""
    agenda, now, last_question = Agenda(POLL, BATCH), NOW, NOW
    for passes, free, next_ready, more, scheduled in history:
        step, steps = agenda.begin(now, free), 0
        known: int | None = None
        while not isinstance(step, Sleep):
            steps += 1
            assert steps <= 3
            assert free > 0
            if isinstance(step, Claim):
                assert 0 < step.limit <= free
                step = agenda.claimed(1, more, now, free)
                last_question = now
            else:
                answer = None if next_ready is None else now + next_ready
                if step.after is not None and answer is not None and answer <= step.after:
                    answer = None
                known = answer
                step = agenda.looked(step, answer, now, free, asked_at=now)
                last_question = now
        assert step.until <= now + POLL
        if free > 0:
            assert known is None or step.until <= max(known, now)
            assert last_question == now
        if scheduled is not None:
            agenda.scheduled(now + scheduled, now)
            if free > 0:
                assert agenda.sleep().until <= max(now + scheduled, now)
        now += passes


def test_while_writes_are_overdue() -> None:
    """Until they are stored, the storage is only queried, once per poll interval, whatever is due."""
    agenda = Agenda(POLL, BATCH)
    assert agenda.begin(NOW, 5, overdue=True) == Look(None)
    assert agenda.looked(Look(None), NOW - 10, NOW, 5, asked_at=NOW) == Sleep(NOW + POLL, None)
    assert agenda.freed()
    assert agenda.is_over(NOW, woken=True)
    assert agenda.begin(NOW + 1, 5) == Claim(5)


def test_after_overdue_writes_the_storage_decides_what_is_due() -> None:
    agenda = made(scheduled=NOW)
    assert agenda.begin(NOW, 5, overdue=True) == Look(None)
    agenda.looked(Look(None), None, NOW, 5, asked_at=NOW)
    assert agenda.begin(NOW + 1, 5) == Look(None)


PLACES = [(place, workers) for workers in (1, 2, 16) for place in {0, workers - 1}]


@pytest.mark.parametrize("place, workers", PLACES)
@given(moment=st.integers(0, 2**60))
def test_a_turn(place: int, workers: int, moment: int) -> None:
    """At each moment it is exactly one worker's turn, and the next worker's follows within a turn."""
    turns = Turns(place, workers)
    at = turns.since(moment)
    assert moment <= at < moment + workers * TURN
    assert turns.since(at) == at
    others = sorted(Turns(each, workers).since(moment) for each in range(workers))
    assert others[0] == moment
    assert all(0 < later - earlier <= TURN for earlier, later in itertools.pairwise(others))


OWN = 10 * TURN
"""The beginning of a turn of the first of two workers."""


def of_two(*, known: int, asked_at: int = 0) -> Agenda:
    """The agenda of the first of two workers, which knows a moment in the storage."""
    agenda = Agenda(100 * TURN, BATCH)
    agenda.turns = Turns(0, 2)
    agenda.begin(asked_at, 3)
    agenda.looked(Look(None), known, asked_at, 3, asked_at=asked_at)
    return agenda


@pytest.mark.parametrize(
    "known, asked_at, until, step",
    [
        (OWN + 5, OWN - 3 * TURN, OWN + 5, Claim(3)),  # it comes due in this worker's turn
        (OWN - 5, OWN - 3 * TURN, OWN, Look(None)),  # it came due in the other worker's turn
        (OWN + 5, OWN + 1, OWN + 5, Claim(3)),  # looked up in the current turn
    ],
)
def test_the_first_step_depends_on_whose_turn_it_is(known: int, asked_at: int, until: int, step: Step) -> None:
    agenda = of_two(known=known, asked_at=asked_at)
    assert agenda.sleep().until == until
    assert agenda.begin(until, 3) == step


def test_leftovers_are_claimed_in_the_next_turn() -> None:
    agenda = of_two(known=OWN - 5)
    assert agenda.begin(OWN, 3) == Look(None)
    assert agenda.looked(Look(None), OWN - 5, OWN, 3, asked_at=OWN) == Claim(3)


def test_what_others_have_claimed_is_not_claimed_again() -> None:
    """Even if this worker has stored it."""
    agenda = of_two(known=OWN - 5)
    agenda.scheduled(OWN - 5, OWN - TURN)
    assert agenda.begin(OWN, 3) == Look(None)
    assert agenda.looked(Look(None), OWN + 7, OWN, 3, asked_at=OWN) == Sleep(OWN + 7, None)


def test_what_only_this_worker_knows_does_not_wait_for_its_turn() -> None:
    agenda, others_turn = of_two(known=OWN + 5 * TURN), OWN + TURN
    assert agenda.scheduled(others_turn, others_turn)
    assert agenda.sleep().until == others_turn
    assert agenda.begin(others_turn, 3) == Claim(3)
    agenda.claimed(3, True, others_turn, 3)
    assert agenda.begin(others_turn, 3) == Claim(3), "what it has left, too"


@pytest.mark.parametrize("turns, step", [(Turns(), Look(OWN)), (Turns(0, 2), Sleep(OWN + 2 * TURN, None))])
def test_with_many_occurrences_the_next_turn_looks(turns: Turns, step: Step) -> None:
    agenda = of_two(known=OWN)
    agenda.turns = turns
    assert agenda.begin(OWN, 3) == Claim(3)
    assert agenda.claimed(2, False, OWN, 3) == step


def test_several_claims_at_once_while_each_gets_all_it_asks_for() -> None:
    agenda, claims = Agenda(POLL, batch_size=10), list[Step]()
    agenda.scheduled(NOW, NOW)
    for got in (1.0, 1.0, 1.0, 0.9, 1.0, 0.5, 0.5):
        step = agenda.begin(NOW, 85)
        claims.append(step)
        assert isinstance(step, Claim)
        agenda.claimed(int(got * min(step.limit, 10 * step.times)), True, NOW, 85)
    assert claims == [Claim(85, times) for times in (1, 2, 4, 8, 4, 8, 4)]
    assert agenda.begin(NOW, 29) == Claim(29, 2), "no more than there are slots for"
    agenda.claimed(20, True, NOW, 9)
    assert agenda.begin(NOW, 9) == Claim(9)


@pytest.mark.parametrize("free, got, times", [(35, (10, 20, 30, 9), [1, 2, 3, 3, 1]), (85, (9, 9), [1, 1, 1])])
def test_the_number_of_claims_at_once(free: int, got: tuple[int, ...], times: list[int]) -> None:
    """An integer, at least one."""
    agenda, claims = Agenda(POLL, batch_size=10), list[Step]()
    agenda.scheduled(NOW, NOW)
    for count in got:
        claims.append(agenda.begin(NOW, free))
        agenda.claimed(count, True, NOW, free)
    assert [*claims, agenda.begin(NOW, free)] == [Claim(free, each) for each in times]


def test_the_next_turn_is_the_next_one() -> None:
    """It begins at the turn's beginning."""
    agenda = Agenda(100 * TURN, BATCH)
    agenda.turns = Turns(1, 2)
    agenda.scheduled(OWN + 5, OWN + 5)
    assert agenda.begin(OWN + 5, 3) == Claim(3)
    assert agenda.claimed(DENSE, False, OWN + 5, 3) == Sleep(OWN + TURN, None)


def test_more_within_the_same_turn_is_left_to_the_next_worker() -> None:
    """This worker would claim one at a time; the worker whose turn is next claims a batch."""
    agenda = of_two(known=OWN + 5)
    agenda.begin(OWN + 5, 3)
    assert agenda.claimed(1, False, OWN + 5, 3) == Look(OWN + 5)
    step = agenda.looked(Look(OWN + 5), OWN + 7, OWN + 5, 3, asked_at=OWN)
    assert step == Sleep(OWN + 2 * TURN, None)


def test_the_next_poll_counts_from_the_last_query_of_all_queues() -> None:
    agenda = made(known=NOW)
    assert agenda.begin(NOW, 3) == Claim(3)
    assert agenda.claimed(1, False, NOW, 3) == Look(NOW)
    assert agenda.looked(Look(NOW), None, NOW, 3, asked_at=NOW - 40) == Sleep(NOW - 40 + POLL, HELD)
