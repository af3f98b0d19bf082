"""Repository URLs and the entry points behind them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pytest

from pyncette import Pyncette
from pyncette._config import backends
from pyncette.memory import memory_repository
from pyncette.repository import Backend


def options_from_url(url: str) -> Mapping[str, Any]:
    return {} if url == "shelf://here" else {"shelf_size": 5}


shelf = Backend(factory=memory_repository, options_from_url=options_from_url)
no_backend = 5


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make these the only installed entry points."""

    def _install(**points: str) -> None:
        found = [EntryPoint(name, f"third_party:{value}", backends.GROUP) for name, value in points.items()]
        monkeypatch.setattr(backends, "entry_points", lambda group: found if group == backends.GROUP else [])

    return _install


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this module importable by name, for entry points; test modules have none."""
    module = ModuleType("third_party")
    vars(module).update(shelf=shelf, no_backend=no_backend)
    monkeypatch.setitem(sys.modules, "third_party", module)


async def test_a_third_party_backend_by_entry_point(install: Callable[..., None]) -> None:
    install(shelf="shelf")
    async with Pyncette("shelf://here").create():
        pass


def test_an_unknown_scheme_says_what_is_installed(install: Callable[..., None]) -> None:
    install(shelf="shelf")
    with pytest.raises(ValueError, match=r"No backend for 'cupboard' is installed \(installed: shelf\)"):
        Pyncette("cupboard://here")


@pytest.mark.parametrize(
    "url, distribution",
    [
        ("redis://:secret@h", "pyncette-redis"),
        ("rediss://:secret@h", "pyncette-redis"),
        ("postgres://u:secret@h/d", "pyncette-postgres"),
        ("postgresql://u:secret@h/d", "pyncette-postgres"),
        ("mysql://u:secret@h/d", "pyncette-mysql"),
        ("sqlite:///secret", "pyncette-sqlite"),
        ("dynamodb://region/secret", "pyncette-dynamodb"),
    ],
)
def test_a_scheme_says_which_distribution_to_install(install: Callable[..., None], url: str, distribution: str) -> None:
    install()
    with pytest.raises(ValueError, match=f"Install the distribution {distribution}") as e:
        Pyncette(url)
    assert "secret" not in str(e.value)


def test_mongodb_is_gone(install: Callable[..., None]) -> None:
    install()
    with pytest.raises(ValueError, match="MongoDB is not supported since version 2"):
        Pyncette("mongodb://h")


@pytest.mark.parametrize(
    "url, advice",
    [
        ("postgress://u:secret@h/d", r"Did you mean postgres://…\?"),
        ("postgresql+asyncpg://u:secret@h/d", r"Leave the driver 'asyncpg' out: write postgresql://…"),
        ("sqllite:///secret", r"Did you mean sqlite://…\?"),
        ("shef://secret", r"Did you mean shelf://…\?"),
        ("mongodb+srv://secret", "MongoDB is not supported since version 2"),
        ("memory://secret", "To keep everything in memory, pass no URL"),
        ("ftp://secret", r"\(installed: shelf\)\. There are also: dynamodb, mysql, .*, sqlite\.$"),
    ],
)
def test_a_misspelt_scheme(install: Callable[..., None], url: str, advice: str) -> None:
    install(shelf="shelf")
    with pytest.raises(ValueError, match=advice) as e:
        Pyncette(url)
    assert "secret" not in str(e.value)


def test_no_url_at_all() -> None:
    with pytest.raises(ValueError, match="has no scheme"):
        Pyncette("pyncette.db")
    with pytest.raises(TypeError, match="must be a function"):
        Pyncette(repository_factory=5)  # type: ignore[arg-type]  # the mistake under test


def test_an_option_given_twice(install: Callable[..., None]) -> None:
    install(shelf="shelf")
    with pytest.raises(TypeError, match="'shelf_size' is given twice"):
        Pyncette("shelf://there", shelf_size=6)


def test_an_invalid_entry_point(install: Callable[..., None]) -> None:
    install(shelf="no_backend")
    with pytest.raises(ValueError, match=r"is not a pyncette\.repository\.Backend"):
        Pyncette("shelf://here")


def test_a_sqlite_option_selects_sqlite(install: Callable[..., None]) -> None:
    install()
    with pytest.raises(ValueError, match="Install the distribution pyncette-sqlite"):
        Pyncette(sqlite_database="x")
    install(sqlite="shelf")
    with pytest.raises(TypeError, match="Unknown option 'sqlite_database'"):  # it is memory_repository here
        Pyncette(sqlite_database="x")


def test_the_module_of_the_mongodb_backend_says_what_to_do() -> None:
    with pytest.raises(ImportError, match="Choose another backend"):
        importlib.import_module("pyncette.mongodb")
