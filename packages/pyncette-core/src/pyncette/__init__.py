"""Pyncette: a reliable distributed scheduler for async Python with pluggable storage."""

from __future__ import annotations

from pkgutil import extend_path
from typing import TYPE_CHECKING, Never

__path__ = extend_path(__path__, __name__)  # backends are separate distributions

from ._app.actions import ActionsPage
from ._app.app import Pyncette
from ._app.bulk import BulkResult
from ._app.context import Context
from ._app.extra import BackfillState
from ._app.inventory import StoredTask
from ._app.listing import ListTasksResponse
from ._app.runlog import LoggedRun, RunsPage, SkippedOccurrences
from ._app.running import PyncetteContext
from ._app.states import TaskRun, TaskState
from ._tasks.action import Action
from ._tasks.bound import BoundTask
from ._tasks.existing import Scheduling
from ._tasks.fixtures import from_fixture
from ._tasks.names import partition_of
from ._tasks.partition import PartitionedTask
from ._tasks.policies import CatchUp, ExecutionMode, FailureMode, OnExhausted, Overlap, Policies
from ._tasks.retry import Retry
from ._tasks.task import PartitionSelector, Task
from ._tasks.worker import Worker
from .errors import GiveUp, RetryLater, Skip
from .findings import Finding
from .record import Count

__all__ = [
    "Action",
    "ActionsPage",
    "BackfillState",
    "BoundTask",
    "BulkResult",
    "CatchUp",
    "Context",
    "Count",
    "ExecutionMode",
    "FailureMode",
    "Finding",
    "GiveUp",
    "ListTasksResponse",
    "LoggedRun",
    "OnExhausted",
    "Overlap",
    "PartitionSelector",
    "PartitionedTask",
    "Policies",
    "Pyncette",
    "PyncetteContext",
    "Retry",
    "RetryLater",
    "RunsPage",
    "Scheduling",
    "Skip",
    "SkippedOccurrences",
    "StoredTask",
    "Task",
    "TaskRun",
    "TaskState",
    "Worker",
    "from_fixture",
    "partition_of",
]

if not TYPE_CHECKING:  # type checkers report unknown names themselves

    def __getattr__(name: str) -> Never:
        from . import errors
        from ._validation.guesses import no_such_name

        no_such_name(name, __all__, vars(errors))
