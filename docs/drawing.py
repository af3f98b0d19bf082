"""Draws the rooms of core and their imports into docs/architecture.md.

./dev run docs/drawing.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.architecture.house import DRAWING, PAGE, drawing

PAGE.write_text(DRAWING.sub(drawing(), PAGE.read_text()))
