"""Files that backends read from their packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyncette.checks import check_flag, check_whole
from pyncette.resources import load_migrations, load_statements


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = f"backend_{abs(hash(request.node.name))}"
    (tmp_path / name / "schema").mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_statements(package: str, tmp_path: Path) -> None:
    text = "-- For readers.\n\n-- name: one\n-- Why.\nSELECT 1\n  -- how\nFROM a\n\n-- name: two\nSELECT '--' -- kept"
    (tmp_path / package / "statements.sql").write_text(text)
    assert load_statements(package) == {"one": "SELECT 1\nFROM a", "two": "SELECT '--' -- kept"}


def test_migrations_expand_before_they_contract(package: str, tmp_path: Path) -> None:
    names = ["0001_expand_a.sql", "0002_expand_b.sql", "0002_contract_b.sql", "0010_expand_c.sql"]
    for name in [*names, "notes.sql", "0003_expand_d.lua", "__pycache__"]:
        (tmp_path / package / "schema" / name).write_text(f"text of {name}")
    found = load_migrations(package)
    assert [step.name for step in found] == names
    assert [(step.version, step.phase.value) for step in found] == [
        (1, "expand"),
        (2, "expand"),
        (2, "contract"),
        (10, "expand"),
    ]
    assert found[0].step == "text of 0001_expand_a.sql"
    assert [step.name for step in load_migrations(package, "lua")] == ["0003_expand_d.lua"]


@pytest.mark.parametrize(
    "value, most, error, said",
    [
        (True, None, TypeError, "n must be a whole number, not bool."),
        (1.0, None, TypeError, "n must be a whole number, not float."),
        (0, None, ValueError, "n must be at least 1, not 0."),
        (0, 9, ValueError, "n must be from 1 to 9, not 0."),
        (10, 9, ValueError, "n must be from 1 to 9, not 10."),
    ],
)
def test_checks_of_integers(value: object, most: int | None, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        check_whole("n", value, least=1, most=most)
    assert str(caught.value) == said


def test_valid_integers() -> None:
    check_whole("n", 1, least=1)
    check_whole("n", 9, least=1, most=9)
    check_flag("n", True)
