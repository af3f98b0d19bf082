"""The drawing in docs/architecture.md agrees with the imports."""

from __future__ import annotations

from tests.architecture.house import DRAWING, PAGE, drawing


def test_the_drawing_shows_the_imports() -> None:
    assert DRAWING.findall(PAGE.read_text()) == [drawing()], "redraw it: ./dev run docs/drawing.py"
