"""A request, and how its page is rendered."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .access import Role, Visitor
from .services import Services
from .session import Session
from .templating import ENVIRONMENT

COMPLETE_WITHIN = 0.05
"""Seconds after which a page is sent as it is; its next refresh shows the rest."""


class Refused(Exception):
    """Ends a request with a page that says why.

    :ivar status: the HTTP status.
    :ivar title: the problem.
    :ivar message: what to do about it.
    """

    def __init__(self, status: int, title: str, message: str = "") -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.message = message


@dataclass(slots=True)
class Page:
    """One request.

    :ivar path: the path within the dashboard.
    :ivar csrf: the token for forms.
    :ivar zone: the viewer's timezone.
    :ivar opened: None if the storage could not be opened.
    :ivar form: the fields of the form that was sent.
    """

    request: Request
    path: str
    title: str
    visitor: Visitor
    session: Session
    csrf: str
    zone: ZoneInfo
    can_log_out: bool
    opened: Services | None = None
    form: list[tuple[str, str]] = field(default_factory=list)
    _began: float = field(default_factory=anyio.current_time, init=False)

    @property
    def time_left(self) -> float:
        """Seconds for which the page may still wait for answers that its next refresh can show too."""
        return max(0.0, self._began + COMPLETE_WITHIN - anyio.current_time())

    @property
    def services(self) -> Services:
        """The services of the open dashboard."""
        if self.opened is None:
            raise RuntimeError("This page was made without the storage.")
        return self.opened

    @property
    def now(self) -> datetime.datetime:
        """The storage's time."""
        return datetime.datetime.now(datetime.UTC) if self.opened is None else self.opened.now

    @property
    def base(self) -> str:
        """The prefix of all paths."""
        return str(self.request.scope.get("root_path", "")).rstrip("/")

    @property
    def may_read(self) -> bool:
        return self.visitor.role >= Role.READ

    @property
    def may_operate(self) -> bool:
        return self.visitor.role >= Role.OPERATE

    def asked(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.request.query_params.get(name, default)

    def given(self, name: str, default: str = "") -> str:
        """A field of the form."""
        return next((value for key, value in self.form if key == name), default)

    def url(self, path: str = "/", **query: object) -> str:
        """A URL within the dashboard. Empty parameters are left out."""
        kept = [(key, str(value)) for key, value in query.items() if value not in (None, "")]
        text = urlencode(kept, errors="surrogatepass")
        return f"{self.base}{path}" + (f"?{text}" if text else "")

    def here(self, **changed: object) -> str:
        """The URL of this page with other filters."""
        return self.url(self.path, **{**dict(self.request.query_params), **changed})

    def render(self, template: str, status: int = 200, /, **values: Any) -> Response:
        said, self.session.said = self.session.said, ""
        trouble = None if self.opened is None else self.opened.cache.trouble
        page = ENVIRONMENT.get_template(template)
        text = page.render(page=self, said=said, now=self.now, trouble=trouble, zone=self.zone, **values)
        return Response(text, status, media_type="text/html", headers={"Cache-Control": "no-store"})

    def redirect(self, url: str, said: str = "") -> Response:
        """Redirect to another page, which shows this message."""
        self.session.said = said
        return RedirectResponse(url, 303)
