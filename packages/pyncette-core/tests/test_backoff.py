"""Delays before another attempt: how they grow, and how they are spread."""

import random
from statistics import fmean

import pytest

from pyncette.backoff import pause


@pytest.fixture(autouse=True)
def same_chance() -> None:
    random.seed(1)


def pauses(failures: int, *, least: float = 0) -> list[float]:
    return [pause(failures, first=0.02, longest=0.5, least=least) for _ in range(2000)]


@pytest.mark.parametrize("failures, bound", [(1, 0.02), (2, 0.04), (5, 0.32), (6, 0.5), (10, 0.5), (10**6, 0.5)])
@pytest.mark.parametrize("least", [0, 0.5])
def test_the_bound_doubles_up_to_the_longest(failures: int, bound: float, least: float) -> None:
    found = pauses(failures, least=least)
    assert least * bound <= min(found) < (least + 0.01) * bound
    assert 0.99 * bound < max(found) <= bound


@pytest.mark.parametrize("least", [0, 0.5])
def test_delays_are_evenly_distributed(least: float) -> None:
    """Of six clients that failed together, hardly any two retry within the same thousandth."""
    found = [one / 0.5 for one in pauses(9, least=least)]
    assert fmean(found) == pytest.approx((1 + least) / 2, abs=0.02)
    assert len({round(one, 3) for one in found}) > 400


def test_pauses_are_in_the_unit_of_the_first() -> None:
    assert 50_000 <= pause(1, first=100_000, longest=1_000_000, least=0.5) <= 100_000
