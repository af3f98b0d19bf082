"""The commands in the documentation exist: those of ./dev, distributions and their extras, and scripts."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys

import pytest
from devtool.cli import parser
from devtool.layout import distributions
from packaging.requirements import Requirement

from pyncette_cli.main import program

from .pages import PAGES, ROOT, blocks

COMMANDS = [(block, line) for block in blocks("bash") for line in block.code.splitlines() if line.strip()]
MENTIONED = {command for page in PAGES for command in re.findall(r"\./dev (\w+)", page.read_text())}


@pytest.mark.parametrize("block, line", COMMANDS, ids=[f"{block} {line[:40]}" for block, line in COMMANDS])
def test_it_can_be_typed(block: object, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    words = shlex.split(line, comments=True)
    while words:
        end = words.index("|") if "|" in words else len(words)
        check(words[:end], f"{block}: {line}")
        words = words[end + 1 :]


def check(words: list[str], where: str) -> None:
    called, *arguments = words
    match called:
        case "./dev":
            options, _ = parser().parse_known_args(arguments)
            assert arguments[0] != "run" or (ROOT / options.script).is_file()
        case "pip":
            check_pip(arguments)
        case "python" if arguments[0] == "-c":
            assert subprocess.run([sys.executable, *arguments[:2]], capture_output=True, check=True).stdout
        case "export":
            assert re.fullmatch(r"[A-Z_]+=\S+", arguments[0])
        case "pyncette":
            check_pyncette(arguments)
        case "aws":
            assert arguments[:2] == ["dynamodb", "create-table"]
        case "jq":
            assert arguments == ["-r", ".instance"]
        case _:
            pytest.fail(f"This test does not know a program that is named in {where}")


def check_pyncette(arguments: list[str]) -> None:
    """Parse the arguments without running the command."""
    with program.make_context("pyncette", list(arguments)) as context:
        name, command, rest = program.resolve_command(context, arguments)
        assert command is not None
        command.make_context(name, rest)


def check_pip(arguments: list[str]) -> None:
    assert arguments[0] in {"install", "uninstall"}
    for argument in arguments[1:]:
        requirement = Requirement(argument)
        assert requirement.extras <= distributions()[requirement.name].extras.keys()
        if arguments[0] == "install" and requirement.name == "pyncette":
            assert str(requirement.specifier) == ">=2", "on an older Python pip would install 1.1.0"


def test_pip_is_kept_from_the_old_version_everywhere() -> None:
    mentioned = [line for page in PAGES for line in re.findall(r"pip install [^`\n]*", page.read_text())]
    assert len(mentioned) >= 20
    assert [line for line in mentioned if re.search(r"[ \"']pyncette(\[|[ \"'.,]|$)(?![^\n]*>=2)", line)] == []


def test_commands_of_dev() -> None:
    listed = set(re.findall(r"^    (\w+)(?: |$)", parser().format_help(), re.MULTILINE))  # a long one has its own line
    assert listed >= MENTIONED
    assert len(MENTIONED) >= 8


def test_that_there_are_some() -> None:
    assert len(COMMANDS) >= 20
