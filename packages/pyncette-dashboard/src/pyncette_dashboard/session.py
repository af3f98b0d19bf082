"""Signed cookies: the login, the protection of forms against forgery, and the message for the next page."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

COOKIE = "pyncette_dashboard"
"""The cookie's name. It contains the fields of :class:`Session`."""

LIFETIME = 12 * 3600
"""Seconds after which visitors have to log in again."""

LONGEST = 3500
"""The maximum size of a cookie in bytes."""


class Session:
    """The content of the signed cookie.

    :ivar id: a random value to which forms are tied.
    :ivar token: the hash of the visitor's token; empty before the login.
    :ivar said: a message that the next page shows once.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        self.id: str = fields.get("id") or secrets.token_urlsafe(18)
        self.token: str = fields.get("token", "")
        self.said: str = fields.get("said", "")
        self._before = dict(fields)

    def renew(self) -> None:
        """Start a new session after a login or logout: earlier forms become invalid."""
        self.id, self.token = secrets.token_urlsafe(18), ""

    @property
    def fields(self) -> dict[str, Any]:
        return {"id": self.id, "token": self.token, "said": self.said[:500]}

    @property
    def changed(self) -> bool:
        return {**self._before, "until": None} != {**self.fields, "until": None}


class Signer:
    """Signs cookies and forms.

    :param secret: must be the same in all processes that serve one dashboard.
    """

    def __init__(self, secret: str | None) -> None:
        self._key = hashlib.sha256((secret or secrets.token_urlsafe(32)).encode()).digest()

    def session(self, connection: HTTPConnection) -> Session:
        """The browser's session; a new one if it has none, or one with an invalid signature."""
        fields = self._opened(connection.cookies.get(COOKIE, ""))
        return Session(fields if fields is not None and fields.get("until", 0) > time.time() else {})

    def keep(self, session: Session, response: Response, *, path: str, secure: bool) -> None:
        """Store the session in the browser's cookie."""
        text = self._sealed({**session.fields, "until": int(time.time()) + LIFETIME})
        response.set_cookie(
            COOKIE, text[:LONGEST], max_age=LIFETIME, path=path or "/", secure=secure, httponly=True, samesite="strict"
        )

    def csrf(self, session: Session) -> str:
        """The token for forms of this session."""
        return self._mac(b"csrf:" + session.id.encode())

    def is_ours(self, session: Session, given: str) -> bool:
        """Whether a form comes from a page of this session."""
        return hmac.compare_digest(self.csrf(session).encode(), given.encode(errors="replace"))

    def _sealed(self, fields: dict[str, Any]) -> str:
        body = base64.urlsafe_b64encode(json.dumps(fields).encode())
        return f"{body.decode()}.{self._mac(body)}"

    def _opened(self, text: str) -> dict[str, Any] | None:
        body, _, mac = text.partition(".")
        if not hmac.compare_digest(self._mac(body.encode()).encode(), mac.encode(errors="replace")):
            return None
        try:
            fields = json.loads(base64.urlsafe_b64decode(body))
        except ValueError:
            return None
        return fields if isinstance(fields, dict) else None

    def _mac(self, text: bytes) -> str:
        return base64.urlsafe_b64encode(hmac.new(self._key, text, hashlib.sha256).digest()).decode().rstrip("=")
