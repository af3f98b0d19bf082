from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .workers import Workers


@pytest.fixture
def workers_of(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Workers]]:
    """Makes workers that share the storage which these options name; ended with the test."""
    made: list[Workers] = []

    def make(options: dict[str, Any]) -> Workers:
        made.append(Workers(tmp_path, options))
        return made[-1]

    yield make
    for workers in made:
        workers.abandon()
