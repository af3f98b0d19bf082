"""The drawing in docs/architecture.md is what the imports are."""

from __future__ import annotations

import re

from .sources import ROOT
from .test_layers import CORE, MODULES, of_ours, top

PAGE = (ROOT / "docs" / "architecture.md").read_text()
NOT_DRAWN = {"", "mongodb"}  # the package itself, and a message


def parts() -> dict[str, str]:
    """The part of the drawing that each module belongs to."""
    rows = re.findall(r"^\| (\w+) \| (`.*`) \|$", PAGE, re.MULTILINE)
    return {module: part for part, modules in rows for module in re.findall(r"`(\w+)`", modules)}


def drawn() -> set[tuple[str, str]]:
    return set(re.findall(r"^    (\w+)(?:\[.*?\])? --> (\w+)", PAGE, re.MULTILINE))


def imported() -> set[tuple[str, str]]:
    """Which part imports which, at run time."""
    part_of = parts()
    arrows = set()
    for module in CORE:
        for found in MODULES[module]:
            used = of_ours(found.name)
            if used is None or found.only_for_types or {used, top(module)} & NOT_DRAWN:
                continue
            arrows.add((part_of[top(module)], part_of[used]))
    return {(user, used) for user, used in arrows if user != used}


def reachable(arrows: set[tuple[str, str]], start: str) -> set[str]:
    found: set[str] = set()
    pending = {start}
    while pending:
        node = pending.pop()
        following = {used for user, used in arrows if user == node} - found
        found |= following
        pending |= following
    return found


def reduced(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without the arrows that say no more than others together."""
    return {(user, used) for user, used in arrows if used not in reachable(arrows - {(user, used)}, user)}


def test_every_module_is_part_of_the_drawing() -> None:
    assert set(parts()) == {top(module) for module in CORE} - NOT_DRAWN


def test_the_arrows_are_the_imports() -> None:
    assert drawn() == reduced(imported())


def test_no_circles() -> None:
    arrows = imported()
    assert not [part for part in set(parts().values()) if part in reachable(arrows, part)]
