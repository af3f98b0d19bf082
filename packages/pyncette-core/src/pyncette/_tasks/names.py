"""Canonical names and partitions: which strings may name what, and how they become storage keys. Pure functions."""

from __future__ import annotations

import hashlib

MAX_CANONICAL_BYTES = 1024


def check_name(name: object, what: str = "task") -> str:
    """``name`` if it can name a task or an instance.

    :raises TypeError: it is no string.
    :raises ValueError: it holds NUL or a lone surrogate.
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
    """A name as a part of a canonical name."""
    return name.replace(":", "::")


def join(*parts: str) -> str:
    """The canonical name made of escaped parts.

    :raises ValueError: it takes more than 1,024 bytes of UTF-8.
    """
    canonical = ":".join(parts)
    # A stored name that somebody has damaged may have lone surrogates, and is shown anyway.
    size = len(canonical) if canonical.isascii() else len(canonical.encode(errors="surrogatepass"))
    if size > MAX_CANONICAL_BYTES:
        raise ValueError(
            f"The canonical name {canonical[:40]!r}… takes {size:,} bytes of UTF-8; at most {MAX_CANONICAL_BYTES:,} "
            "are possible. Use a shorter name, for example a hash of it, and put the rest into the arguments."
        )
    return canonical


def template_of(queue: str) -> tuple[str, int | None]:
    """The name of the task that a queue belongs to, and the partition if it is one."""
    place = 0
    while (place := queue.find(":", place)) >= 0:
        if queue[place + 1 : place + 2] == ":":
            place += 2
            continue
        if queue[place + 1 :].isdecimal():
            return queue[:place].replace("::", ":"), int(queue[place + 1 :])
        break
    return queue.replace("::", ":"), None


def partition_of(partition_count: int, name: str) -> int:
    """The partition of an instance: SHA-1 of its name, scaled to ``range(partition_count)``.

    Instances are stored under the result, so it must never change.
    """
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest, "big") * partition_count >> (8 * len(digest))


def shown(name: str) -> str:
    """A name as logs and messages show it: quoted if it has line breaks, escapes or other characters that would change
    how the text around it looks."""
    return name if name.isprintable() else repr(name)
