"""What a task function, a middleware and a fixture get to see."""

from __future__ import annotations

from ._app.context import Context, FixtureFunc, MiddlewareFunc, NextFunc, PreviousRun, TaskFunc

__all__ = ["Context", "FixtureFunc", "MiddlewareFunc", "NextFunc", "PreviousRun", "TaskFunc"]
