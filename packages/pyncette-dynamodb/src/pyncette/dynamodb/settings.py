"""The options of the storage, checked before anything is done with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pyncette.checks import check_flag

LONGEST_PREFIX = 255
"""The maximum size in bytes of UTF-8, as the prefix is a part of every item."""

_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_REGION = re.compile(r"[a-z0-9-]+")
_URL_PARAMETERS = {"endpoint": "dynamodb_endpoint", "partition_prefix": "dynamodb_partition_prefix"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table, and the part of it that this app uses.

    :ivar endpoint: None for AWS itself.
    :ivar region: None to look it up in AWS's usual places (``AWS_REGION``, the profile ...).
    :ivar finish_upgrade: whether to run migrations after which older releases can't use the table.
    """

    endpoint: str | None
    region: str | None
    table: str
    skip_table_create: bool
    partition_prefix: str
    finish_upgrade: bool = False

    def __post_init__(self) -> None:
        if self.endpoint is not None:
            _check_endpoint(self.endpoint)
        if self.region is not None:
            _check_region(self.region)
        _check_table(self.table)
        check_flag("dynamodb_skip_table_create", self.skip_table_create)
        check_flag("finish_upgrade", self.finish_upgrade)
        _check_prefix(self.partition_prefix)

    @property
    def where(self) -> str:
        """The table, for messages."""
        place = self.endpoint or self.region
        return f"The table {self.table!r} of DynamoDB" + (f" ({place})" if place else "")


def options_from_url(url: str) -> Mapping[str, Any]:
    """The options in ``dynamodb://region/table?endpoint=...&partition_prefix=...``. The region (``dynamodb:///table``)
    and the parameters are optional.

    :raises ValueError: the URL can't be understood.
    """
    parts = urlsplit(url)
    if why := _mistake(parts):
        raise ValueError(
            f"The URL of the repository can't be understood: {why}. Write dynamodb://region/table, for example "
            "'dynamodb://eu-west-1/pyncette_tasks', and behind it, where they are needed, ?endpoint=http://host:port "
            "and &partition_prefix=name. Credentials are never part of it: they are taken from where AWS's tools look."
        )
    options = {_URL_PARAMETERS[name]: value for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    if parts.netloc:
        options["dynamodb_region_name"] = parts.netloc
    if table := unquote(parts.path.removeprefix("/")):
        options["dynamodb_table_name"] = table
    return options


def _mistake(parts: SplitResult) -> str | None:
    """What is wrong with the URL, without repeating anything that may be secret."""
    given = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    unknown = sorted(set(given) - set(_URL_PARAMETERS))
    if "@" in parts.netloc:
        return "it has credentials in it"
    if parts.scheme != "dynamodb" or (parts.netloc and not _REGION.fullmatch(parts.netloc)):
        return "the part between '//' and '/' is no region"
    if "/" in parts.path.removeprefix("/"):
        return "its path is more than the name of a table"
    if unknown:
        return f"it has the parameter {unknown[0]!r}, known are {', '.join(_URL_PARAMETERS)}"
    if len(given) > len(set(given)) or parts.fragment:
        return "it has a parameter twice, or a '#'"
    return None


def _check_endpoint(endpoint: object) -> None:
    if not isinstance(endpoint, str):
        raise TypeError(f"dynamodb_endpoint must be text, not {type(endpoint).__name__}.")
    if not _is_address(endpoint):
        raise ValueError(
            "dynamodb_endpoint must be an address such as 'http://127.0.0.1:8000', without user, path and parameters; "
            "leave it out for AWS."
        )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and parts.path in {"", "/"}
            and not parts.query
            and not parts.fragment
        )
    except ValueError:  # the port is not a number
        return False


def _check_region(region: object) -> None:
    if not isinstance(region, str):
        raise TypeError(f"dynamodb_region_name must be text, not {type(region).__name__}.")
    if not _REGION.fullmatch(region):
        raise ValueError(
            f"dynamodb_region_name must be the name of a region, such as 'eu-west-1', not {region!r}; leave it out to "
            "take the one that AWS's tools take."
        )


def _check_table(table: object) -> None:
    if not isinstance(table, str):
        raise TypeError(f"dynamodb_table_name must be text, not {type(table).__name__}.")
    if not _TABLE.fullmatch(table):
        raise ValueError(
            "dynamodb_table_name must be 3 to 255 letters from A to Z, digits, underscores, hyphens and dots; "
            f"not {table!r}."
        )


def _check_prefix(prefix: object) -> None:
    if not isinstance(prefix, str):
        raise TypeError(f"dynamodb_partition_prefix must be text, not {type(prefix).__name__}.")
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError:
        raise ValueError("dynamodb_partition_prefix has a lone surrogate in it, which is not text.") from None
    if size > LONGEST_PREFIX or "\0" in prefix:
        raise ValueError(
            f"dynamodb_partition_prefix must have at most {LONGEST_PREFIX} bytes of UTF-8, and no NUL character; "
            f"it has {size:,}."
        )
