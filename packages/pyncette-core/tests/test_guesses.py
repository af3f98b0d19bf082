"""An import of a name that ``pyncette`` doesn't have suggests the right one."""

from __future__ import annotations

import importlib

import pytest

import pyncette


@pytest.mark.parametrize(
    "name, said",
    [
        ("RetryPolicy", "pyncette has no 'RetryPolicy': did you mean 'Retry'?"),
        ("Scheduler", "pyncette has no 'Scheduler': did you mean 'Pyncette'?"),
        ("OnExausted", "pyncette has no 'OnExausted': did you mean 'OnExhausted'?"),
        ("TooManyRunsException", "write 'from pyncette.errors import TooManyRunsException'."),
        ("Zebra", "cannot import name 'Zebra'"),
        ("redys", "cannot import name 'redys'"),
    ],
)
def test_importing_a_guessed_name(name: str, said: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(f"from pyncette import {name}", {})  # noqa: S102 -- getattr fails differently
    assert said in str(caught.value)


def test_suggested_names_exist() -> None:
    from pyncette._validation.guesses import _SYNONYMS

    assert set(_SYNONYMS.values()) <= set(pyncette.__all__)
    assert not set(_SYNONYMS) & set(dir(pyncette))


def test_other_names_are_missing_as_in_any_module() -> None:
    """Lookups of submodules and special names must find nothing and raise only AttributeError."""
    for name in ("__wrapped__", "not_there", "Zebra", ""):
        assert not hasattr(pyncette, name)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pyncette.not_there")
