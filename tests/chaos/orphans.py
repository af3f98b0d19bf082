"""Processes that end with their parent, however it ends."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def end_with_parent() -> None:
    """Make the kernel kill this process when its parent has ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
