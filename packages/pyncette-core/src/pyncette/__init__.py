"""Pyncette: a reliable distributed scheduler for async Python with pluggable storage."""

from __future__ import annotations

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)  # the backends are distributions of their own

from .app import Pyncette
from .app_context import PyncetteContext
from .bulk import BulkResult
from .context import Context
from .instances import ListTasksResponse, TaskState
from .task import ExecutionMode, FailureMode, Task

__all__ = [
    "BulkResult",
    "Context",
    "ExecutionMode",
    "FailureMode",
    "ListTasksResponse",
    "Pyncette",
    "PyncetteContext",
    "Task",
    "TaskState",
]
