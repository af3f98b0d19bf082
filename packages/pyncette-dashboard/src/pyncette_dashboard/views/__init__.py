"""The pages."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from pyncette_dashboard.guard import Guard

from .acting import act, form, preview
from .actions import actions
from .calendar import calendar
from .dead import dead, retry_many
from .entering import entering, entrance, leave
from .instance import instance
from .jobs import job
from .overview import overview
from .runs import runs
from .task import task
from .workers import workers

PAGES = {
    "/": overview,
    "/task": task,
    "/instance": instance,
    "/runs": runs,
    "/dead": dead,
    "/workers": workers,
    "/calendar": calendar,
    "/actions": actions,
    "/job": job,
}


def routes(guard: Guard) -> list[BaseRoute]:
    """All of them, each behind the guard."""
    return [
        *(Route(path, guard.page(path, handler), methods=["GET"]) for path, handler in PAGES.items()),
        Route("/act", guard.act("/act", form), methods=["GET"]),
        Route("/act", guard.act("/act", act), methods=["POST"]),
        Route("/act/preview", guard.act("/act/preview", preview), methods=["GET"]),
        Route("/dead/retry", guard.act("/dead/retry", retry_many), methods=["POST"]),
        Route("/login", guard.entrance("/login", entrance), methods=["GET"]),
        Route("/login", guard.entrance("/login", entering(guard.access)), methods=["POST"]),
        Route("/logout", guard.entrance("/logout", leave), methods=["POST"]),
    ]
