"""The options of the storage, checked before anything is done with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pyncette.checks import check_flag, check_whole

SCHEMES = ("postgresql", "postgres")

LONGEST_TABLE_NAME = 56
"""PostgreSQL's names have at most 63 bytes, and those of the indexes are the table's with a suffix."""

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_LONGEST_SCHEMA_NAME = 63
_PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class Table:
    """A table's name, with every part of it checked.

    :ivar schema: None for the first schema in the ``search_path`` that has the table.
    """

    schema: str | None
    name: str

    @classmethod
    def parse(cls, text: str) -> Table:
        """
        :raises TypeError, ValueError: saying what to write instead.
        """
        if not isinstance(text, str):
            raise TypeError(f"postgres_table_name must be text, not {type(text).__name__}.")
        schema, dot, name = text.rpartition(".")
        parts_fit = _fits(name, LONGEST_TABLE_NAME) and (not dot or _fits(schema, _LONGEST_SCHEMA_NAME))
        if not parts_fit:
            raise ValueError(
                f"postgres_table_name must be 'table' or 'schema.table' in lower-case letters, digits and "
                f"underscores, neither beginning with a digit, the table's name of at most {LONGEST_TABLE_NAME} "
                f"characters; not {text!r}."
            )
        return cls(schema if dot else None, name)

    @property
    def sql(self) -> str:
        """The name as written in a statement: quoted, so that ``order`` and ``user`` are valid names too."""
        return f'"{self.name}"' if self.schema is None else f'"{self.schema}"."{self.name}"'

    @property
    def runs(self) -> Table:
        """The table of the log of runs."""
        return Table(self.schema, f"{self.name}_runs")

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the server is, which table is ours, and how to talk to it.

    :ivar statement_cache_size: the number of prepared statements kept per connection; 0 also means that a proxy may
        send each statement over a different connection, so no state may be left behind on one.
    :ivar finish_upgrade: whether to run migrations after which older releases can't use the table.
    """

    url: str = field(repr=False)
    table: Table
    skip_table_create: bool
    pool_size: int
    statement_cache_size: int
    finish_upgrade: bool = False

    def __post_init__(self) -> None:
        check_url(self.url)
        check_flag("postgres_skip_table_create", self.skip_table_create)
        check_flag("finish_upgrade", self.finish_upgrade)
        check_whole("postgres_pool_size", self.pool_size, least=1, most=1_000)
        check_whole("postgres_statement_cache_size", self.statement_cache_size, least=0, most=100_000)

    @property
    def where(self) -> str:
        """The server and the database for messages, without the user and the password."""
        parts = urlsplit(self.url)
        address = unquote(parts.netloc.rpartition("@")[2])
        database = unquote(parts.path.removeprefix("/"))
        server = f"PostgreSQL at {address}" if address else "PostgreSQL"
        return f"{server}, database {database!r}" if database else server

    @property
    def behind_proxy(self) -> bool:
        return self.statement_cache_size == 0


def options_from_url(url: str) -> Mapping[str, Any]:
    """The options in a ``postgresql://`` URL: the URL itself is the only one.

    :raises ValueError: the URL can't be understood.
    """
    check_url(url)
    return {"postgres_url": url}


def check_url(url: str) -> None:
    """Check that the driver will parse the URL as intended.

    The usual mistake is an unescaped special character in the password: the driver then takes a part of the password
    for the host, or shows it in an error. So these messages repeat no part of the URL.

    :raises TypeError, ValueError: saying what to write instead.
    """
    if not isinstance(url, str):
        raise TypeError(f"postgres_url must be text, not {type(url).__name__}.")
    try:
        parts = urlsplit(url)
        if parts.query:
            parse_qsl(parts.query, strict_parsing=True)
    except ValueError:
        raise _not_understood("it is no valid URL") from None
    if parts.scheme not in SCHEMES or not url.startswith(f"{parts.scheme}://"):
        raise _not_understood("it does not begin with postgresql://")
    if why := _mistake(parts):
        raise _not_understood(why)


def _mistake(parts: SplitResult) -> str | None:
    _, _, hosts = parts.netloc.rpartition("@")
    database = parts.path.removeprefix("/")
    if parts.netloc.count("@") > 1 or "@" in parts.path or "@" in parts.query:
        return "it has more than one '@', or one in an unexpected place"
    if "#" in parts.geturl():
        return "it has a '#'"
    if not all(_is_address(host) for host in hosts.split(",")):
        return "its host or port can't be read"
    if "/" in database:
        return "its path is more than the name of a database"
    return None


def _is_address(text: str) -> bool:
    """Whether it is a host, a host and a port, or nothing."""
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        host, bracket, port = text.partition("]")
        return bool(bracket) and (not port or (port[0] == ":" and _is_port(port[1:])))
    return ":" not in host and (not colon or _is_port(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) in _PORTS


def _not_understood(why: str) -> ValueError:
    return ValueError(
        f"postgres_url can't be understood: {why}. Write postgresql://user:password@host:port/database, with what is "
        "special in a URL percent-encoded in each part (urllib.parse.quote(password, safe=''))."
    )


def _fits(name: str, longest: int) -> bool:
    return bool(_IDENTIFIER.fullmatch(name)) and len(name) <= longest
