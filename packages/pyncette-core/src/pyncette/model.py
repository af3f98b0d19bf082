"""The module of pyncette 1.1.0 in which its types were. Importing one from here says where it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING

_MOVED = {
    **dict.fromkeys(
        ("Context", "ExecutionMode", "FailureMode", "ListTasksResponse", "PartitionSelector", "TaskState"), "pyncette"
    ),
    **dict.fromkeys(("FixtureFunc", "MiddlewareFunc", "NextFunc", "TaskFunc"), "pyncette.context"),
}
_GONE = {
    "ContinuationToken": "a continuation token is a str",
    "Decorator": "decorators are typed by themselves",
    "Heartbeater": "context.heartbeat is a Callable[[], Coroutine[Any, Any, None]]",
    **dict.fromkeys(
        ("Lease", "PollResponse", "QueryResponse", "ResultType"),
        "it belonged to the repository interface, which is a new one: see 'Write a backend' in the documentation",
    ),
}

if not TYPE_CHECKING:  # checkers know that there is nothing here

    def __getattr__(name: str) -> object:
        if name in _MOVED:
            raise ImportError(f"pyncette.model is gone since version 2: write from {_MOVED[name]} import {name}.")
        if name in _GONE:
            raise ImportError(f"pyncette.model.{name} is gone since version 2: {_GONE[name]}.")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
