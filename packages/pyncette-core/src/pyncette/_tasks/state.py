"""What has happened to an instance, as versioned JSON text. Pure functions.

Core alone reads it; stores keep it. Fields that this version does not know are kept.
"""

from __future__ import annotations

import json
import re
from typing import Any

VERSION = 1

_OURS = re.compile(r'\{"v":1,"fence":(-?\d+)\}')
"""What this version writes where there is nothing else: nearly always, and far cheaper to match than to decode."""


def settled(text: str, fence: int) -> str:
    """The state after the occurrence that was claimed with ``fence`` has ended."""
    if not text or _OURS.fullmatch(text):
        return f'{{"v":{VERSION},"fence":{fence}}}'
    return json.dumps({**_fields(text), "fence": fence}, separators=(",", ":"))


def last_settled(text: str) -> int | None:
    """The fence of the occurrence that ended last, None if none has.

    It proves that a settlement whose answer was lost has been stored, also when somebody else has claimed since.
    """
    if not text:
        return None
    if found := _OURS.fullmatch(text):
        return int(found[1])
    fence = _fields(text).get("fence")
    return fence if isinstance(fence, int) else None


def _fields(text: str) -> dict[str, Any]:
    """All fields; a text that was damaged is begun anew."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return {"v": VERSION}
    return fields if isinstance(fields, dict) else {"v": VERSION}
