"""Options are checked when they are passed, before they are used."""

from __future__ import annotations

import inspect
import ssl
import traceback
from typing import Any

import pytest

from pyncette.mysql import backend, mysql_repository

GOOD: dict[str, Any] = {"mysql_host": "h", "mysql_user": "u", "mysql_password": "secret", "mysql_database": "d"}


@pytest.mark.parametrize(
    "option, value, error",
    [
        ("mysql_host", "", ValueError),
        ("mysql_host", None, TypeError),
        ("mysql_user", b"u", TypeError),
        ("mysql_database", "a\0b", ValueError),
        ("mysql_password", b"secret", TypeError),
        ("mysql_port", "3306", TypeError),
        ("mysql_port", True, TypeError),
        ("mysql_port", 0, ValueError),
        ("mysql_port", 65536, ValueError),
        ("mysql_pool_size", 0, ValueError),
        ("mysql_pool_size", 2.5, TypeError),
        ("mysql_table_name", "a`b", ValueError),
        ("mysql_table_name", "other.tasks", ValueError),
        ("mysql_table_name", "1a", ValueError),
        ("mysql_table_name", "a\n", ValueError),
        ("mysql_table_name", "a" * 60, ValueError),
        ("mysql_table_name", "\u00e4", ValueError),
        ("mysql_table_name", "", ValueError),
        ("mysql_table_name", 5, TypeError),
        ("mysql_skip_table_create", "no", TypeError),
        ("mysql_ssl", "required", TypeError),
        ("mysql_ssl", {"ca": "ca.pem"}, TypeError),
    ],
)
def test_bad_values(option: str, value: object, error: type[Exception]) -> None:
    """The call itself refuses them. The error names the option, and does not repeat the password."""
    with pytest.raises(error, match=f"^{option} (must be|is)") as caught:
        mysql_repository(**GOOD | {option: value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mysql_password": None},
        {"mysql_password": ""},
        {"mysql_table_name": "A_z9"},
        {"mysql_table_name": "a" * 59},
        {"mysql_port": 65535, "mysql_pool_size": 1, "mysql_skip_table_create": True},
        {"mysql_ssl": True},
        {"mysql_ssl": False},
        {"mysql_ssl": ssl.create_default_context()},
    ],
)
def test_good_values(options: dict[str, Any]) -> None:
    mysql_repository(**GOOD | options)


def test_options_are_in_the_signature() -> None:
    """The app reads its options from the signature."""
    parameters = inspect.signature(mysql_repository).parameters
    assert {name for name, p in parameters.items() if p.default is p.empty} == GOOD.keys() - {"mysql_password"}
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    assert parameters["mysql_port"].default == 3306
    assert parameters["mysql_table_name"].default == "pyncette_tasks"


@pytest.mark.parametrize(
    "url, options",
    [
        (
            "mysql://user:pw@host:3307/db",
            {"mysql_host": "host", "mysql_port": 3307, "mysql_user": "user", "mysql_password": "pw"}
            | {"mysql_database": "db"},
        ),
        (
            "mysql://%C3%BCser%40x:%2F%3A%3F%23%25@host/d%20b",
            {"mysql_host": "host", "mysql_user": "\u00fcser@x", "mysql_password": "/:?#%", "mysql_database": "d b"},
        ),
        ("mysql://host", {"mysql_host": "host"}),
        ("mysql://host/db", {"mysql_host": "host", "mysql_database": "db"}),
        ("mysql://u@[::1]:1/", {"mysql_host": "::1", "mysql_port": 1, "mysql_user": "u"}),
        ("mysql://host?ssl=true", {"mysql_host": "host", "mysql_ssl": True}),
        ("mysql://host/?ssl=false", {"mysql_host": "host", "mysql_ssl": False}),
    ],
)
def test_urls(url: str, options: dict[str, Any]) -> None:
    assert backend.options_from_url(url) == options


@pytest.mark.parametrize(
    "url",
    [
        "mysql:///db",
        "postgresql://u:secret@h/db",
        "mysql://u:secret@h/db/more",
        "mysql://u:secret@h:port/db",
        "mysql://u:secret#x@h/db",
        "mysql://u:sec/ret@h/db",
        "mysql://u:secret@[::1/db",
        "mysql://u:secret@h/db?charset=latin1",
        "mysql://u:secret@h/db?ssl=secret",
    ],
)
def test_invalid_urls(url: str) -> None:
    """The error does not repeat the URL, which may contain a password."""
    with pytest.raises(ValueError, match="mysql://user:password@host:port/database") as caught:
        backend.options_from_url(url)
    assert "sec" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__context__ is None or caught.value.__suppress_context__
