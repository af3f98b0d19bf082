"""Scheduling an instance that may already exist: what to do, and what was done."""

from __future__ import annotations

import enum
from typing import Literal

IfExists = Literal["update", "keep", "replace", "error"]
"""What to do about an instance that exists: change schedule and arguments, leave it as it is, replace all of it, or
refuse."""


class Scheduling(enum.Enum):
    """What happened to an instance that was scheduled."""

    CREATED = "created"
    UPDATED = "updated"
    REPLACED = "replaced"
    KEPT = "kept"
    """It exists, and ``if_exists="keep"`` leaves it as it is."""
    UNDER_WAY = "under way"
    """Its only occurrence is being executed with the arguments that it began with. It is not executed once more for new
    arguments alone."""
    EXISTS = "exists"
    """Refused, by ``if_exists="error"``."""
