"""Canonical names and partitions: which names are valid, and how they become storage keys. Pure functions."""

from __future__ import annotations

import hashlib
from typing import Literal

MAX_CANONICAL_BYTES = 1024

STATIC = ":static:"
"""The prefix of a static task's queue and key. It keeps them apart from those of a template or partition of the same
name, so that a deploy that turns one into the other doesn't find the former's records."""

Kind = Literal["static", "dynamic", "partitioned"]
"""How a task is declared. Tasks of the same name but of different kinds are separate in the storage."""


def check_name(name: object, what: str = "task") -> str:
    """``name`` if it can name a task or an instance.

    :raises TypeError: it is not a string.
    :raises ValueError: it contains NUL or a lone surrogate.
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of a {what} must be a string, not {type(name).__name__}: write {str(name)!r}.")
    if "\0" in name:
        raise ValueError(
            f"The {what} name {name!r} contains the NUL character, which databases can't store: remove it."
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"The {what} name {name!r} contains a lone surrogate, which is not text: decode it with errors='replace'."
        ) from None
    return name


def escape(name: str) -> str:
    """Escape a name for use in a canonical name."""
    return name.replace(":", "::")


def join(*parts: str) -> str:
    """The canonical name composed of escaped parts.

    :raises ValueError: it takes more than 1,024 bytes of UTF-8.
    """
    canonical = ":".join(parts)
    # A damaged stored name may contain lone surrogates, and has to be shown nevertheless.
    size = len(canonical) if canonical.isascii() else len(canonical.encode(errors="surrogatepass"))
    if size > MAX_CANONICAL_BYTES:
        raise ValueError(
            f"The canonical name {canonical[:40]!r}… takes {size:,} bytes of UTF-8; at most {MAX_CANONICAL_BYTES:,} "
            "are possible. Use a shorter name, for example a hash of it, and put the rest into the arguments."
        )
    return canonical


def static_queue(canonical_name: str) -> str:
    """The queue of a static task, which is also the key of its record.

    :raises ValueError: it takes more than 1,024 bytes of UTF-8.
    """
    return join(STATIC + canonical_name)


def name_of(key: str) -> str:
    """The canonical name of the static task or instance that is stored under a key."""
    return key.removeprefix(STATIC)


def is_reserved(queue: str) -> bool:
    """Whether a queue is reserved for core's own records, and holds no tasks."""
    return queue.startswith(":") and not queue.startswith(("::", STATIC))


def task_of(queue: str) -> tuple[str, Kind, int | None]:
    """The name and kind of the task that a queue belongs to, and the partition number if it is a partition's."""
    if queue.startswith(STATIC):
        return unescape(name_of(queue)), "static", None
    place = 0
    while (place := queue.find(":", place)) >= 0:
        if queue[place + 1 : place + 2] == ":":
            place += 2
            continue
        if queue[place + 1 :].isdecimal():
            return unescape(queue[:place]), "partitioned", int(queue[place + 1 :])
        break
    return unescape(queue), "dynamic", None


def unescape(name: str) -> str:
    return name.replace("::", ":")


def partition_of(partition_count: int, name: str) -> int:
    """The partition of an instance: SHA-1 of its name, scaled to ``range(partition_count)``.

    Instances are stored under the result, so it must never change.
    """
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest, "big") * partition_count >> (8 * len(digest))


def shown(name: str) -> str:
    """A name for logs and messages: quoted if it has line breaks, escapes or other characters that would garble the
    surrounding text."""
    return name if name.isprintable() else repr(name)
