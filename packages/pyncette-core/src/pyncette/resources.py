"""Statements and migrations, from files next to a backend's modules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from .migrations import Migration, Phase

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_FILE = re.compile(r"(\d{4})_(expand|contract)_\w+\.(\w+)")


def load_statements(package: str, name: str = "statements.sql") -> Mapping[str, str]:
    """The statements of a file by their names, without comments.

    A statement begins behind a line ``-- name: …``. What stands before the first one is for readers.

    :param package: the backend's, as its modules know it by ``__package__``.
    """
    parts = _NAME.split(files(package).joinpath(name).read_text("utf-8"))
    bodies = (_COMMENT.sub("", body).strip() for body in parts[2::2])
    return dict(zip(parts[1::2], bodies, strict=True))


def load_migrations(package: str, extension: str = "sql") -> tuple[Migration[str], ...]:
    """The steps in the package's folder ``schema``: by format, and first what expands it, then what contracts it.

    A file is called ``NNNN_expand_WHAT.sql`` or ``NNNN_contract_WHAT.sql``; ``NNNN`` is the format that it leads to.
    Other files are left alone.

    :param extension: how the names of the files end, without the dot.
    """
    steps = [
        Migration(int(parts[1]), Phase(parts[2]), file.name, file.read_text("utf-8"))
        for file in files(package).joinpath("schema").iterdir()
        if (parts := _FILE.fullmatch(file.name)) and parts[3] == extension
    ]
    return tuple(sorted(steps, key=lambda step: (step.version, step.phase is Phase.CONTRACT, step.name)))
