"""Distributions are built once; each test gets a separate environment."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from devtool.layout import distributions
from devtool.wheels import build

from tests.packaging.environments import CleanEnvironment

MakeEnvironment = Callable[[], CleanEnvironment]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of each distribution."""
    target = tmp_path_factory.mktemp("built")
    build(sys.executable, [distribution.folder for distribution in distributions().values()], target)
    return target


@pytest.fixture
def clean(tmp_path: Path, built: Path) -> CleanEnvironment:
    """An environment with nothing but Python."""
    return CleanEnvironment(tmp_path / "clean", sys.executable, built).create()
