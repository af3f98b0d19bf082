"""The reference has every public name, and each of them has a docstring."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType

import pytest

import pyncette
import pyncette.errors
import pyncette.testing

from .pages import ROOT

BACKENDS = ("sqlite", "redis", "postgres", "mysql", "dynamodb")
DIRECTIVE = re.compile(
    r"^ *\.\. auto(class|function|method|module|data):: ([\w.]+).*((?:\n +:.*|\n {6}.*)*)", re.MULTILINE
)


def documented() -> dict[str, str]:
    """Full names, and the options below their directives."""
    page = (ROOT / "docs" / "reference.md").read_text()
    return {match[2]: match[3] for match in DIRECTIVE.finditer(page)}


SHOWN = documented()


def public(module: ModuleType) -> list[str]:
    return [f"{module.__name__}.{name}" for name in module.__all__]


def test_every_name_of_the_packages() -> None:
    missing = {*public(pyncette), *public(pyncette.testing)} - SHOWN.keys()
    assert not missing


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_functions_of_every_backend(backend: str) -> None:
    module = importlib.import_module(f"pyncette.{backend}")
    functions = [name for name in public(module) if inspect.isfunction(found(name))]
    assert f"{module.__name__}.{backend}_repository" in functions
    assert set(functions) <= SHOWN.keys()


@pytest.mark.parametrize("name", ["pyncette.Pyncette", "pyncette.PyncetteContext", "pyncette.Task"])
def test_every_method_that_users_call(name: str) -> None:
    # Names for use between modules only.
    inner = {
        "parent_of",
        "name_in",
        "new_spec",
        "restore",
        "fresh_args",
        "args_text",
        "queue",
        "queues",
        "ref",
    }
    inner |= {"encoded_args", "template", "tz", "policies", "stored", "as_stored", "storing"}
    members = {
        member
        for member, value in inspect.getmembers(found(name))
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }
    assert members - inner <= set(re.findall(r"\w+", SHOWN[name]))
    assert len(members) > 8
    for member in members - inner:
        assert inspect.getdoc(getattr(found(name), member)), member


@pytest.mark.parametrize("name", [name for name in SHOWN if "." in name and name != "pyncette.testing.Fault"])
def test_it_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(found(name)), name


def found(name: str) -> object:
    """The object with this full name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)
