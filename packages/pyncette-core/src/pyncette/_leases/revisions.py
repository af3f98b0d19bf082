"""Revisions: random tokens, one per write."""

from __future__ import annotations

import os

BLOCK = 256
"""Tokens generated at a time: a system call for each would take longer than creating a record."""

_BYTES = 8

_left: list[str] = []


def new_revision() -> str:
    """A random token, unique across threads and processes."""
    try:
        return _left.pop()
    except IndexError:
        text = os.urandom(_BYTES * BLOCK).hex()
        block = [text[at : at + 2 * _BYTES] for at in range(0, len(text), 2 * _BYTES)]
        token = block.pop()
        _left.extend(block)
        return token


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_left.clear)  # the parent will use the remaining tokens
