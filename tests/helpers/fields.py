"""The fields that `--json` prints according to the documentation of the command line."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command_line.md"


def documented(command: str) -> set[str]:
    """The documented fields of a command, without the remarks in parentheses."""
    table = PAGE.read_text().partition("| `--json` of |")[2].partition("\n\n")[0]
    for line in table.splitlines():
        cells = line.split("|")
        if len(cells) == 4 and f"`{command}`" in cells[1]:
            return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", cells[2])))
    raise LookupError(command)
