"""All cells of the decision table, in memory; the page of the documentation shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from pyncette.memory import MemoryRepository
from pyncette.testing.contract.app.bench import Bench
from pyncette.testing.contract.app.cells import (
    CATCH_UP,
    CELLS,
    EVENTS,
    IMPOSSIBLE,
    LATENESS,
    MODES,
    OVERLAP,
    TABLE,
    Cell,
    is_impossible,
)
from pyncette.testing.contract.app.deciding import check

PAGE = Path(__file__).parents[3] / "docs" / "when_things_go_wrong.md"


def test_every_combination_is_in_the_table_once() -> None:
    combinations = [cell.combination for cell in CELLS]
    every = {each for each in product(MODES, EVENTS, CATCH_UP, LATENESS, OVERLAP) if not is_impossible(*each)}
    assert len(combinations) == len(set(combinations)) == len(every)
    assert set(combinations) == every


def test_what_is_impossible_has_reasons() -> None:
    assert all(IMPOSSIBLE.values())


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_cell(cell: Cell) -> None:
    repository = MemoryRepository()

    @asynccontextmanager
    async def factory(**options: Any) -> AsyncIterator[MemoryRepository]:
        yield repository

    await check(Bench(factory, repository), cell)


def test_the_page_shows_the_table() -> None:
    page = PAGE.read_text()
    shown = [[value.strip() for value in line.strip("| ").split("|")] for line in page.splitlines() if "@" in line]
    rows = [[value.strip() for value in line.split("|")] for line in TABLE.strip().splitlines()[1:]]
    assert [row for row in shown if len(row) == 8] == rows
