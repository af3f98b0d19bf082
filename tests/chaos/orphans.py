"""Processes that end with the one that has started them, however that ends."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def end_with_parent() -> None:
    """The kernel kills this process when its parent has ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
