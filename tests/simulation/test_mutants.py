"""The simulation finds faults that are inserted into core: two in the usual run, all with --thorough."""

from __future__ import annotations

import re

import pytest

from .checks import CHECKS
from .faults_of_core import MUTANTS, Mutant
from .mutants import FOUND_AS, ROOT, changed, judge, source_of

SAMPLE = (
    "agenda: what the storage says about the next due record is forgotten",
    "coordinator: leases last only 0.1 seconds",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_is_a_change_of_core(mutant: Mutant) -> None:
    assert changed(source_of(mutant), mutant) != source_of(mutant)


def test_one_that_core_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="0 times: change the mutant"):
        changed("", MUTANTS[0])


def test_the_documentation_lists_all_of_them() -> None:
    text = (ROOT / "docs" / "promises.md").read_text()
    rows = re.findall(r"^\| (\w+: [^|]+) \| ([\d,]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert [name for name, _, _ in rows] == [mutant.name for mutant in MUTANTS]
    assert {found_as for _, _, found_as in rows} <= set(FOUND_AS.values())
    assert all(int(seeds.replace(",", "")) <= mutant.seeds for (_, seeds, _), mutant in zip(rows, MUTANTS, strict=True))


def test_each_check_has_its_words() -> None:
    assert {check.__name__ for check in CHECKS} <= set(FOUND_AS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "wanted" in metafunc.fixturenames:
        thorough = metafunc.config.getoption("--thorough")
        chosen = [mutant for mutant in MUTANTS if thorough or mutant.name in SAMPLE]
        metafunc.parametrize("wanted", chosen, ids=lambda mutant: mutant.name)


def test_it_is_found(wanted: Mutant) -> None:
    assert judge(wanted).found
