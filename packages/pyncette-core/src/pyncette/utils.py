"""Helpers for task functions."""

from __future__ import annotations

from .heartbeat import with_heartbeat

__all__ = ["with_heartbeat"]
