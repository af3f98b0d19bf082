from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .workers import Workers


@pytest.fixture
def workers_of(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Workers]]:
    """A function that creates workers on the storage that these options name. They are stopped when the test ends."""
    made: list[Workers] = []

    def make(options: dict[str, Any]) -> Workers:
        made.append(Workers(tmp_path, options))
        return made[-1]

    yield make
    for workers in made:
        workers.abandon()
