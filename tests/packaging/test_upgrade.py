"""From pyncette 1.1.0, the last version that was one distribution with all the code in it."""

import pytest

from tests.packaging.environments import CleanEnvironment
from tests.packaging.test_installs import PUBLIC, is_broken, uses, works

pytestmark = pytest.mark.timeout(600)
OURS = ("pyncette", "pyncette-core", "pyncette-sqlite", "pyncette-redis")
OLD_CODE = "import pyncette.mongodb"


@pytest.fixture
def old(clean: CleanEnvironment) -> CleanEnvironment:
    """An environment with 1.1.0 as it is published."""
    clean.pip("install", "pyncette[redis]==1.1.0")
    assert "pyncette/mongodb.py" in clean.pip("show", "--files", "pyncette")
    return clean


def test_uninstalling_first_is_the_way(old: CleanEnvironment) -> None:
    old.pip("uninstall", "--yes", "pyncette")
    old.install("pyncette[redis]")
    works(old, uses("sqlite", "redis"))
    assert is_broken(old, OLD_CODE)


def test_upgrading_in_place_breaks_and_can_be_repaired(old: CleanEnvironment) -> None:
    """pip removes 1.1.0's files after it has installed core's under the same names.

    If this test fails because nothing breaks any more, remove the warning from the migration page.
    """
    old.install("--upgrade", "pyncette[redis]")
    assert is_broken(old, PUBLIC)
    old.install("--force-reinstall", "--no-deps", *OURS)
    works(old, uses("sqlite", "redis"))
    assert is_broken(old, OLD_CODE)
