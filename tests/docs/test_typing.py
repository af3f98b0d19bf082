"""Python blocks of the README files and the documentation that run by themselves pass mypy --strict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT, blocks

pytest.importorskip("mypy", reason="./dev check installs mypy, and runs this")


def test_blocks_pass_mypy(tmp_path: Path) -> None:
    written = {}
    for block in blocks("python"):
        if not block.fragment and not block.is_a_file:
            file = tmp_path / (re.sub(r"\W", "_", str(block)) + ".py")
            file.write_text(block.code)
            written[file.name] = block
    assert len(written) >= 36
    arguments = [sys.executable, "-m", "mypy", "--strict", "--python-version=3.11", str(tmp_path)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.findall(rf"^{re.escape(str(tmp_path))}/(\w+\.py):(\d+): (.*)$", done.stdout, re.MULTILINE)
    wrong = [f"{written[name]} line {line} of the block: {error}" for name, line, error in found]
    assert done.returncode == 0, "\n".join(wrong) or done.stdout + done.stderr
