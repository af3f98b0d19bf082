"""The names of core's log events: each text has one, and the documentation lists them by level."""

from __future__ import annotations

import ast
import re

from pyncette.logs import EVENTS, NAMES
from tests.architecture.sources import ROOT

SOURCE = ROOT / "packages" / "pyncette-core" / "src" / "pyncette"
PAGE = (ROOT / "docs" / "observability.md").read_text()
LEVELS = {"info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR", "critical": "CRITICAL"}


def logged() -> dict[str, str]:
    """The level of each text that core logs at INFO or above; the suite for authors of backends has no events."""
    found: dict[str, str] = {}
    for path in SOURCE.rglob("*.py"):
        if "testing" in path.relative_to(SOURCE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="logger"), attr=level),
                    args=[ast.Constant(value=str(text)), *_],
                ) if level in LEVELS:
                    found[text] = LEVELS[level]
    return found


def test_each_text_has_a_name() -> None:
    assert NAMES.keys() == logged().keys(), "pyncette.logs.EVENTS names what is logged"
    assert set(NAMES.values()) == EVENTS.keys()


def test_the_page_lists_the_names() -> None:
    rows = re.findall(r"^\| (CRITICAL|ERROR|WARNING|INFO) \| (.+) \|$", PAGE, re.MULTILINE)
    levels = logged()
    expected = {level: {name for text, name in NAMES.items() if levels[text] == level} for level, _ in rows}
    assert {level: set(re.findall(r"`(\w+)`", names)) for level, names in rows} == expected
    assert set().union(*expected.values()) == EVENTS.keys()
