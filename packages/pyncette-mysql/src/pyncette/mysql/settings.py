"""The options of the storage, checked before anything is done with them."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pyncette.checks import check_flag, check_whole

_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,58}")  # a name has at most 64 characters, and "_runs" is appended
_SSL_WORDS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The server, the user, and the table.

    :ivar finish_upgrade: whether to run migrations after which older releases can't use the table.
    """

    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    table_name: str
    skip_table_create: bool
    pool_size: int
    tls: bool | ssl.SSLContext | None
    finish_upgrade: bool = False

    def __post_init__(self) -> None:
        for name in ("host", "user", "database"):
            _check_text(name, getattr(self, name))
        if self.password is not None and not isinstance(self.password, str):
            raise TypeError(f"mysql_password must be text or None, not {type(self.password).__name__}.")
        check_whole("mysql_port", self.port, least=1, most=65535)
        check_whole("mysql_pool_size", self.pool_size, least=1, most=1000)
        check_flag("mysql_skip_table_create", self.skip_table_create)
        check_flag("finish_upgrade", self.finish_upgrade)
        check_table_name(self.table_name)
        if self.tls is not None and not isinstance(self.tls, bool | ssl.SSLContext):
            raise TypeError(
                "mysql_ssl must be an ssl.SSLContext, True, False or None, "
                f"not {type(self.tls).__name__}. For a certificate authority of your own write "
                "mysql_ssl=ssl.create_default_context(cafile='ca.pem')."
            )

    @property
    def where(self) -> str:
        """The server and the database, for messages."""
        return f"MySQL at {self.host}:{self.port}, database {self.database!r}"


def check_table_name(name: str) -> None:
    """:raises TypeError, ValueError: saying what to write instead."""
    _check_text("table_name", name)
    if not _TABLE_NAME.fullmatch(name):
        raise ValueError(
            "mysql_table_name must be 1 to 59 of the characters A-Z a-z 0-9 _ and not begin with a digit, "
            f"not {name!r}. The database is named by mysql_database."
        )


def runs_table(table_name: str) -> str:
    """The table of the log of runs."""
    return f"{table_name}_runs"


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"mysql_{name} must be text, not {type(value).__name__}.")
    if not value or "\0" in value:
        raise ValueError(f"mysql_{name} must be text that isn't empty and has no NUL in it.")


def options_from_url(url: str) -> Mapping[str, Any]:
    """The options in ``mysql://user:password@host:port/database``; all parts are percent-decoded.

    ``?ssl=true`` is ``mysql_ssl=True``. Parts that are left out can be given as options.

    :raises ValueError: the URL can't be understood. The message does not repeat it, as it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _not_understood("its host or port can't be read") from None
    if parts.scheme != "mysql":
        raise _not_understood("it does not begin with mysql://")
    if parts.fragment or not parts.hostname:
        raise _not_understood("it has a '#'" if parts.fragment else "it names no host")
    database = parts.path.removeprefix("/")
    if "/" in database:
        raise _not_understood("its path is more than the name of a database")
    options: dict[str, Any] = {
        "mysql_host": unquote(parts.hostname),
        "mysql_port": port,
        "mysql_user": parts.username and unquote(parts.username),
        "mysql_password": parts.password and unquote(parts.password),
        "mysql_database": unquote(database),
        **_from_query(parts.query),
    }
    return {name: value for name, value in options.items() if value not in (None, "")}


def _from_query(query: str) -> dict[str, Any]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.keys() - {"ssl"}:
        raise _not_understood("the only option that it may have is ssl; give the others to Pyncette(...)")
    if "ssl" in options and options["ssl"] not in _SSL_WORDS:
        raise _not_understood("ssl must be true or false")
    return {"mysql_ssl": _SSL_WORDS[options["ssl"]]} if "ssl" in options else {}


def _not_understood(why: str) -> ValueError:
    return ValueError(
        f"The MySQL URL can't be understood: {why}. Write mysql://user:password@host:port/database, with what is "
        "special in a URL percent-encoded in each part (urllib.parse.quote(password, safe=''))."
    )
