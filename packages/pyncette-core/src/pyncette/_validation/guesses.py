"""Names that ``pyncette`` doesn't have, but that users try to import from it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Never

from .suggest import near_miss

_SYNONYMS = {
    "App": "Pyncette",
    "Backoff": "Retry",
    "CatchUpPolicy": "CatchUp",
    "OverlapPolicy": "Overlap",
    "Retries": "Retry",
    "RetryConfig": "Retry",
    "RetryPolicy": "Retry",
    "Scheduler": "Pyncette",
    "TaskContext": "Context",
}
"""Other libraries' names, and the corresponding ones here."""


def no_such_name(name: str, exported: Collection[str], errors: Collection[str]) -> Never:
    """Suggest the name that was probably meant, if there is one.

    :param exported: the names in ``pyncette``.
    :param errors: the names in ``pyncette.errors``.
    :raises ImportError: the name is a guess that can be corrected. ``from … import`` would replace the text of an
        :class:`AttributeError`.
    :raises AttributeError: it is anything else, such as a submodule that is imported next.
    """
    if name[:1].isupper():
        if name in errors:
            raise ImportError(f"{name!r} is in pyncette.errors: write 'from pyncette.errors import {name}'.")
        written = {each.lower(): each for each in exported}
        meant = _SYNONYMS.get(name) or written.get(near_miss(name.lower(), tuple(written)) or "")
        if meant:
            raise ImportError(f"pyncette has no {name!r}: did you mean {meant!r}?")
    raise AttributeError(f"module 'pyncette' has no attribute {name!r}")
