"""The pages that users read, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTES = ROOT / "docs" / "changelog.d"  # entries of the next changelog, not pages
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("packages/*/README.md")),
    *(page for page in sorted(ROOT.glob("docs/**/*.md")) if page.parent != NOTES),
]

FRAGMENT = "<!-- fragment -->"
_FENCE = re.compile(rf"^(?P<mark>{FRAGMENT}\n)?```(?P<language>\S*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and whether it is marked as a fragment that does not run by itself."""

    page: Path
    line: int
    language: str
    code: str
    fragment: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_a_file(self) -> bool:
        """Whether it starts with a file's name (`# my_backend.py`), and belongs to a page with a separate test."""
        return re.match(r"# \w+\.py\n", self.code) is not None

    @property
    def shown(self) -> str:
        """The expected output: the comments at the beginning of lines."""
        return "".join(re.findall(r"^# (.*\n)", self.code, re.MULTILINE))


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in _FENCE.finditer(text):
            if match["language"] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, line, language, match["code"], match["mark"] is not None))
    return found
