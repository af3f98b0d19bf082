"""Which event loop runs."""

from __future__ import annotations

import sys


def on_trio() -> bool:
    """Whether the caller runs on trio; otherwise it is asyncio, the other one that anyio knows."""
    if "trio" not in sys.modules:
        return False
    import sniffio  # a dependency of trio

    return sniffio.current_async_library() == "trio"
