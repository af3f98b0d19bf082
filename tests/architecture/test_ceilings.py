"""Modules and functions stay short enough to be read in one go."""

import ast
from pathlib import Path

from tests.architecture.sources import ROOT, python_files

FILE_CEILING = 400
FUNCTION_CEILING = 40  # lines without the docstring

# Exceptions with higher ceilings, each with its reason. They may only be lowered.
FILES: dict[str, int] = {}
_DECLARING = "packages/pyncette-core/src/pyncette/_app/declaring.py"
FUNCTIONS: dict[str, int] = {  # each policy takes a line of the signature, which type checkers and editors read
    f"{_DECLARING}:task": 60,
    f"{_DECLARING}:dynamic_task": 60,
    f"{_DECLARING}:partitioned_task": 60,
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> list[tuple[str, int]]:
    """Name and length of each function and method; a nested one counts in the outer one too."""
    tree = ast.parse(path.read_text(), str(path))
    return [(node.name, length(node)) for node in ast.walk(tree) if isinstance(node, Function)]


def length(function: Function) -> int:
    whole = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return whole
    return whole - ((first.end_lineno or first.lineno) - first.lineno + 1)


def test_files() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    long = {name: lines for name, lines in lengths.items() if lines > FILES.get(name, FILE_CEILING)}
    assert not long, f"longer than {FILE_CEILING} lines; split by job: {long}"
    assert not {name for name in FILES if lengths.get(name, 0) <= FILE_CEILING}, "granted, but no longer needed"


def test_functions() -> None:
    lengths: dict[str, int] = {}
    for path in python_files():
        for name, lines in functions(path):
            key = f"{path.relative_to(ROOT)}:{name}"
            lengths[key] = max(lines, lengths.get(key, 0))
    long = {name: lines for name, lines in lengths.items() if lines > FUNCTIONS.get(name, FUNCTION_CEILING)}
    assert not long, f"longer than {FUNCTION_CEILING} lines; one job each: {long}"
    assert any(lengths.get(name, 0) > FUNCTION_CEILING for name in FUNCTIONS), "granted, but not needed"
