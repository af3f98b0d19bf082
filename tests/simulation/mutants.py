"""Faults that are put into core, each alone, to see that the simulation finds it."""

from __future__ import annotations


def table(*, jobs: int) -> int:
    """Print what becomes of each; returns the exit status."""
    return 0
