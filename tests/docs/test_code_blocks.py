"""Every Python block of the README files and the documentation runs, and prints what its comments say."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
import types
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, Block, blocks

PYTHON = blocks("python")
RUN = [block for block in PYTHON if not block.fragment and not block.is_a_file]


@pytest.mark.parametrize("block", RUN, ids=str)
def test_it_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.code, str(block), "exec", dont_inherit=True), vars(page))  # noqa: S102 - our own pages
    assert printed.getvalue() == block.shown


@pytest.mark.parametrize("block", RUN, ids=str)
def test_what_it_defines_is_called(block: Block) -> None:
    """A copied block does something: one that declares tasks or defines functions also runs them."""
    functions = [
        node for node in ast.parse(block.code).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(block.code)) if isinstance(node, ast.Call)}
    assert not functions or calls & {"anyio.run", "asyncio.run", "trio.run", "app.main"}


def test_no_block_is_overlooked() -> None:
    """Every opening of a Python block, however it is written, belongs to a block that was found; and there are many."""
    openings = sum(len(re.findall(r"(?:```|~~~) *\{?py", page.read_text())) for page in PAGES)
    assert len(PYTHON) == openings
    assert len(RUN) >= 36
    assert len(PYTHON) - len(RUN) <= 7, "most blocks should run"


def test_every_page_is_in_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    listed = set(re.findall(r"^([\w/*]+)$", index, re.MULTILINE))
    docs = ROOT / "docs"
    pages = {str(page.relative_to(docs).with_suffix("")) for page in PAGES if page.is_relative_to(docs)}
    missing = {page for page in pages if page not in listed and f"{page.partition('/')[0]}/*" not in listed}
    assert missing == {"index"}
    assert len(pages) >= 18


def test_links_between_files_lead_somewhere() -> None:
    links = [
        (page, target) for page in PAGES for target in re.findall(r"\]\((?!https?://|#|<)([^)#\s]+)", page.read_text())
    ]
    assert len(links) >= 30
    assert [(page.name, target) for page, target in links if not (page.parent / target).exists()] == []
