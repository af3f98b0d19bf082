"""The options of the storage, checked before anything is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from pyncette.checks import check_flag
from pyncette.errors import RepositoryException

MEMORY = ":memory:"
VERSIONS_TABLE = "pyncette_schema"

_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Settings:
    """A table in a database.

    :ivar database: path of the file, or ":memory:".
    :ivar finish_upgrade: whether to run migrations after which older releases can't use the table.
    """

    database: str
    table: str
    finish_upgrade: bool = False

    @classmethod
    def checked(cls, database: str | os.PathLike[str], table: str, finish_upgrade: bool = False) -> Settings:
        """
        :raises TypeError, ValueError: saying what to write instead.
        """
        check_flag("finish_upgrade", finish_upgrade)
        return cls(_checked_database(database), _checked_table(table), finish_upgrade)

    @property
    def in_memory(self) -> bool:
        return self.database == MEMORY

    def check_path(self) -> None:
        """Explain clearly what SQLite reports only as "unable to open database file".

        :raises RepositoryException: the path can't be a database file.
        """
        if self.in_memory:
            return
        path = Path(self.database)
        folder = path.parent
        try:
            is_dir = S_ISDIR(path.stat().st_mode)  # Path.is_dir swallows all errors from Python 3.14 on
        except (FileNotFoundError, NotADirectoryError):
            is_dir = False
        except OSError as e:  # such as a name that is too long
            raise RepositoryException(
                f"sqlite_database {self.database[:80]!r}… can't be a file: {e.strerror}. Give another path."
            ) from e
        if is_dir:
            raise RepositoryException(
                f"sqlite_database {self.database!r} is a directory; give the path of a file in it."
            )
        if not folder.is_dir():
            raise RepositoryException(
                f"The directory of sqlite_database {self.database!r} does not exist; create {str(folder.absolute())!r} "
                "first, or give another path."
            )
        if path.exists() and not os.access(path, os.R_OK):
            raise RepositoryException(f"There is no permission to read sqlite_database {self.database!r}.")
        if path.exists() and not os.access(path, os.W_OK):
            raise RepositoryException(
                f"sqlite_database {self.database!r} is read-only; Pyncette needs to write to it and to its directory."
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise RepositoryException(
                f"The directory of sqlite_database {self.database!r} is read-only; SQLite keeps files of its own "
                "(-wal, -shm) next to the database, so Pyncette needs to write there."
            )


def options_from_url(url: str) -> Mapping[str, Any]:
    """``sqlite://`` is in memory, ``sqlite:///relative/path`` and ``sqlite:////absolute/path`` are files.

    The path is taken as it is written, without percent-decoding.
    """
    scheme, separator, rest = url.partition("://")
    if scheme != "sqlite" or not separator:
        raise ValueError("A SQLite URL looks like sqlite:///relative/path, sqlite:////absolute/path or sqlite://.")
    if "?" in rest or "#" in rest:
        raise ValueError(
            "A SQLite URL takes no parameters: give sqlite_table_name as an option; for a file that has '?' or '#' in "
            "its name, give sqlite_database instead of the URL."
        )
    if not rest or rest == "/":
        return {"sqlite_database": MEMORY}
    if not rest.startswith("/"):
        raise ValueError(
            "A SQLite URL has no host: write three slashes before a relative path (sqlite:///pyncette.db), "
            "four for an absolute one (sqlite:////var/lib/pyncette.db)."
        )
    return {"sqlite_database": rest[1:]}


def _checked_database(database: str | os.PathLike[str]) -> str:
    if not isinstance(database, (str, os.PathLike)):
        raise TypeError(f"sqlite_database must be a path, not {type(database).__name__}.")
    path = os.fspath(database)
    if not isinstance(path, str):
        raise TypeError("sqlite_database must be a path of text, not of bytes.")
    if not path:
        raise ValueError('sqlite_database is empty; give the path of a file, or ":memory:".')
    if "\0" in path:
        raise ValueError("sqlite_database must not contain NUL.")
    if path.startswith("~"):
        raise ValueError(f"sqlite_database {path!r}: '~' is not expanded; pass os.path.expanduser({path!r}).")
    if path.startswith("file:"):
        raise ValueError("sqlite_database is a path, not a file: URI; leave 'file:' and what follows '?' out.")
    if path.startswith("sqlite:"):
        raise ValueError("sqlite_database is a path; a sqlite: URL is given as repository_factory.")
    return path


def _checked_table(table: str) -> str:
    if not isinstance(table, str):
        raise TypeError(f"sqlite_table_name must be a string, not {type(table).__name__}.")
    if not _TABLE_NAME.fullmatch(table):
        raise ValueError(
            f"sqlite_table_name {table!r} must be at most 63 ASCII letters, digits and underscores, "
            "and not start with a digit."
        )
    if table.lower().startswith("sqlite_"):
        raise ValueError("sqlite_table_name must not start with 'sqlite_', which SQLite keeps for itself.")
    if table.lower() == VERSIONS_TABLE:
        raise ValueError(
            f"sqlite_table_name must not be {VERSIONS_TABLE!r}, where Pyncette keeps the schema's version."
        )
    return table
