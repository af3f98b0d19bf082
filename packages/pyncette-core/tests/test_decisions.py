"""The decision table is complete, the documentation shows it, and combinations that it calls impossible are refused.

All combinations are executed in memory here; the contract of apps executes a sample on each storage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pyncette import Context, Pyncette
from pyncette.memory import MemoryRepository
from pyncette.testing.contract.app.bench import Bench, duration
from pyncette.testing.contract.app.cells import (
    CELLS,
    COLUMNS,
    IMPOSSIBLE,
    SAMPLE,
    STORED,
    TABLE,
    Cell,
    combinations,
    lines,
    why_impossible,
)
from pyncette.testing.contract.app.deciding import check, policies

PAGE = Path(__file__).parents[3] / "docs" / "when_things_go_wrong.md"

EVERY = list(product(*COLUMNS.values()))


def test_every_combination_is_in_the_table_once() -> None:
    found = [cell.combination for cell in CELLS]
    assert len(found) == len(set(found)) == 756
    assert set(found) == {each for each in EVERY if why_impossible(each) is None}


async def test_the_whole_table() -> None:
    repository = MemoryRepository()

    @asynccontextmanager
    async def factory(**options: Any) -> AsyncIterator[MemoryRepository]:
        yield repository

    await check(Bench(factory, repository), CELLS)


def test_each_value_is_in_the_sample() -> None:
    for values in zip(*(cell.combination for cell in SAMPLE), strict=True):
        assert set(values) in [set(known) for known in COLUMNS.values()]


def test_each_stored_effect_is_listed_once() -> None:
    names = ["mode", "run", "retry", "pause", "restart", "overlap"]
    found = [each for given, _ in lines(STORED) for each in combinations(given, names)]
    assert len(found) == len(set(found))


def test_impossible_combinations_have_reasons() -> None:
    assert all(IMPOSSIBLE.values())
    assert len(EVERY) == 1296


@pytest.mark.parametrize("combination", [each for each in EVERY if why_impossible(each)][::37], ids=", ".join)
def test_impossible_combinations_are_refused(combination: tuple[str, ...]) -> None:
    async def task(context: Context) -> None: ...

    cell = Cell(*[*combination, "", "", "", ""])
    with pytest.raises(ValueError, match="has no meaning"):
        Pyncette().task(name="task", interval=duration(60), **policies(cell))(task)


def test_the_page_shows_both_tables() -> None:
    shown = [[value.strip() for value in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    for table in (TABLE, STORED):
        for line in table.strip().splitlines():
            assert [value.strip() for value in line.split("|")] in shown
