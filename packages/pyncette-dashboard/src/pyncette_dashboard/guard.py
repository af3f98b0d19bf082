"""Guards every page: authentication, authorization, protection against forged forms, and errors."""

from __future__ import annotations

import functools
import logging
import zoneinfo
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from pyncette.errors import PyncetteException

from .access import Access, Role, Visitor
from .cache import TROUBLES, BudgetExhausted, Unreachable
from .page import Page, Refused
from .services import Services
from .session import COOKIE, Session, Signer

logger: logging.Logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

LONGEST_FORM = 1024 * 1024
"""The maximum size of a form in bytes."""

MOST_FIELDS = 5000

ZONE_COOKIE = "pyncette_zone"
"""The cookie in which the browser's script stores the viewer's timezone."""

Handler = Callable[[Page], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Guard:
    """
    :ivar open_services: opens the storage at the first request.
    """

    access: Access
    signer: Signer
    title: str
    open_services: Callable[[], Awaitable[Services]]

    def page(self, path: str, handler: Handler) -> Endpoint:
        """A page for visitors who may read."""
        return functools.partial(self._answer, path, handler, Role.READ)

    def act(self, path: str, handler: Handler) -> Endpoint:
        """An action for visitors who may operate, from our own forms only."""
        return functools.partial(self._answer, path, handler, Role.OPERATE)

    def entrance(self, path: str, handler: Handler) -> Endpoint:
        """A page for everyone, such as the login page."""
        return functools.partial(self._answer, path, handler, Role.NONE)

    async def _answer(self, path: str, handler: Handler, needed: Role, request: Request) -> Response:
        session = self.signer.session(request)
        page = Page(
            request=request,
            path=path,
            title=self.title,
            visitor=await self._visitor(request, session),
            session=session,
            csrf=self.signer.csrf(session),
            zone=_zone(request),
            can_log_out=bool(session.token),
        )
        try:
            response = await self._handled(page, handler, needed)
        except Refused as e:
            response = page.render("refused.html", e.status, title=e.title, message=e.message)
        except LookupError as e:
            response = page.render("refused.html", 404, title="Not found", message=str(e.args[0]))
        except BudgetExhausted as e:
            response = page.render("busy.html", 503, error=str(e))
        except Unreachable as e:
            response = page.render("down.html", 503, error=str(e))
        except TROUBLES as e:
            response = page.render("down.html", 503, error=str(e))
        except (ValueError, PyncetteException) as e:
            response = page.render("refused.html", 400, title="That can't be done", message=str(e))
        if session.changed or COOKIE not in request.cookies:
            self.signer.keep(session, response, path=page.base, secure=_over_tls(request))
        return response

    async def _handled(self, page: Page, handler: Handler, needed: Role) -> Response:
        if page.visitor.role < min(needed, Role.READ):
            return self._refuse(page)
        if page.request.method == "POST":
            await self._check_form(page)
        if page.visitor.role < needed:
            raise Refused(
                403,
                "You can't change anything",
                "Your access is read-only. Ask the administrator of this dashboard for the role operate.",
            )
        if needed != Role.NONE:
            page.opened = await self.open_services()
        return await handler(page)

    def _refuse(self, page: Page) -> Response:
        scheme = page.request.headers.get("authorization", "").partition(" ")[0]
        if self.access.asks_for_token and scheme.lower() != "bearer":  # a wrong Bearer token comes from a program
            return page.redirect(page.url("/login", next=page.here()))
        status = 401 if self.access.challenge else 403
        response = page.render("refused.html", status, title="No access", message=self.access.advice)
        if self.access.challenge:
            response.headers["WWW-Authenticate"] = self.access.challenge
        return response

    async def _check_form(self, page: Page) -> None:
        """
        :raises Refused: the form comes from another site, or from another session.
        """
        request = page.request
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "This form comes from another site")
        if int(request.headers.get("content-length") or 0) > LONGEST_FORM:
            raise Refused(413, "This form is too large")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LONGEST_FORM:
                raise Refused(413, "This form is too large")
        page.form = parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
        if not self.signer.is_ours(page.session, page.given("csrf")):
            raise Refused(403, "This form has expired", "Go back, reload the page and try again.")

    async def _visitor(self, request: Request, session: Session) -> Visitor:
        if session.token:
            known = self.access.by_hash(session.token)
            if known is not None:
                return known
        return await self.access.visitor(request)


def _over_tls(request: Request) -> bool:
    """Whether the browser's connection is encrypted, here or at a proxy. A visitor who forges this header only keeps
    their own cookie from being sent."""
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "").partition(",")[0] == "https"


def _zone(request: Request) -> zoneinfo.ZoneInfo:
    """The viewer's timezone; UTC until their browser has sent it."""
    name = request.cookies.get(ZONE_COOKIE, "UTC").replace("%2F", "/")
    try:
        return zoneinfo.ZoneInfo(name if len(name) < 60 else "UTC")
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return zoneinfo.ZoneInfo("UTC")
