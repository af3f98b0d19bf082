"""Every Python block of the README files and the documentation runs, and prints what stands below it.

A block after a line `<!-- fragment -->` is none that runs by itself. A block that begins with a file's name in a
comment (`# my_backend.py`) belongs to a page that has a test of its own.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("docs/**/*.md"))]

FENCE = re.compile(r"^(?P<mark><!-- fragment -->\n)?```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def shown(self) -> str:
        """What it is said to print: the comments at the beginning of lines."""
        return "".join(re.findall(r"^# (.*\n)", self.code, re.MULTILINE))


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            code = match["code"]
            if match["mark"] is None and not re.match(r"# \w+\.py\n", code):
                found.append(Block(page, text.count("\n", 0, match.start()) + 1, code))
    return found


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_it_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.code, str(block), "exec"), {"__name__": "page"})  # noqa: S102 - our own pages
    assert printed.getvalue() == block.shown


def test_every_page_is_in_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    listed = set(re.findall(r"^([\w/*]+)$", index, re.MULTILINE))
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in PAGES if "docs" in page.parts}
    missing = {page for page in pages if page not in listed and f"{page.partition('/')[0]}/*" not in listed}
    assert missing <= {"index", "README"}
