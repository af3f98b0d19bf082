"""The examples on the page about timezones print what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[4] / "docs" / "timezones.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not part of this distribution")
def test_the_examples_print_the_output_below_them() -> None:
    found = blocks()
    assert len(found) >= 6
    for block in found:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, str(PAGE), "exec"), {})  # noqa: S102 - our own page
        shown = "".join(re.findall(r"^# (.*\n)", block, re.MULTILINE))
        assert shown
        assert printed.getvalue() == shown, block
