"""Faults that are put into core are found: a few of them here, all with --thorough."""

from __future__ import annotations

import pytest

from .faults_of_core import MUTANTS, Mutant
from .mutants import changed, judge, source_of

SAMPLE = (
    "agenda: the answer to a look is forgotten",
    "coordinator: leases of a tenth of a second",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_is_a_change_of_core(mutant: Mutant) -> None:
    assert changed(source_of(mutant), mutant) != source_of(mutant)


def test_one_that_core_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="0 times: change the mutant"):
        changed("", MUTANTS[0])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "wanted" in metafunc.fixturenames:
        thorough = metafunc.config.getoption("--thorough")
        chosen = [mutant for mutant in MUTANTS if thorough or mutant.name in SAMPLE]
        metafunc.parametrize("wanted", chosen, ids=lambda mutant: mutant.name)


def test_it_is_found(wanted: Mutant) -> None:
    assert judge(wanted).found
