"""Enums with fast access to members."""

from __future__ import annotations

import enum
from typing import TypeVar

E = TypeVar("E", bound=enum.Enum)


def plain_members(cls: type[E]) -> type[E]:
    """Make the members plain attributes of the enum's class, as they are since Python 3.12.

    Before that, ``Color.RED`` calls a descriptor, which takes longer than creating a record. An execution does so
    twenty times.
    """
    for member in cls:
        type.__setattr__(cls, member.name, member)  # the enum's own __setattr__ refuses
    return cls
