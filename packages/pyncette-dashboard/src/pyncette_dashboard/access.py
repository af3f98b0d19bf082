"""Access control: roles, and how a visitor gets one."""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import inspect
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import HTTPConnection


class Role(enum.IntEnum):
    """What a visitor may do; each includes those before it."""

    NONE = 0
    """Nothing."""
    READ = 1
    """Look at everything."""
    OPERATE = 2
    """Change what is stored as well."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of a request.

    :ivar role: what they may do.
    :ivar name: who they are, for the log of actions.
    """

    role: Role
    name: str = ""


Word = str
"""``"none"``, ``"read"`` or ``"operate"``."""

Check = Callable[[HTTPConnection], "Visitor | Role | Word | Awaitable[Visitor | Role | Word | None] | None"]
"""The host application's own check: what the visitor of this request may do. None is the same as ``Role.NONE``."""


class Access:
    """A way to get a role."""

    asks_for_token: bool = False
    """Whether there is a page to log in."""

    challenge: str = ""
    """The header ``WWW-Authenticate`` of the answer to visitors without a role."""

    advice: str = "Ask the administrator of this dashboard for access."
    """The message for visitors without a role."""

    async def visitor(self, connection: HTTPConnection) -> Visitor:
        """The sender of this request."""
        raise NotImplementedError

    def by_token(self, token: str) -> tuple[str, Visitor] | None:
        """The visitor with this token, and the token's hash, which identifies them afterwards; None if the token is
        unknown."""
        return None

    def by_hash(self, known: str) -> Visitor | None:
        """The visitor whose token has this hash; None if there is none."""
        return None


class Loopback(Access):
    """Everyone on this machine, and no one else: the default.

    A request that was forwarded by a proxy, or sent to a name other than the machine's own, is refused: it may come
    from anywhere.

    :param role: what they may do.
    """

    advice = (
        "Without a login, the dashboard answers only to browsers on the same machine, without a proxy in between. "
        "Set a token, or mount it with a check of your own: access=..."
    )

    def __init__(self, role: Role | Word = Role.OPERATE) -> None:
        self._role = role_of(role)

    async def visitor(self, connection: HTTPConnection) -> Visitor:
        peer = connection.client.host if connection.client is not None else ""
        passed_on = any(name in connection.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
        if passed_on or not is_loopback(peer) or not is_loopback(_host_of(connection.headers.get("host", ""))):
            return Visitor(Role.NONE)
        return Visitor(self._role, "local")


class Tokens(Access):
    """Everyone with a token, which they enter on the login page, or send in the header ``Authorization: Bearer …``.

    :param tokens: the role of each token: ``{"…": "read", "…": "operate"}``. A token has at least 16 characters.
    :param names: the name of each token's owner, for the log of actions.
    """

    asks_for_token = True
    challenge = "Bearer"

    def __init__(self, tokens: Mapping[str, Role | Word], names: Mapping[str, str] | None = None) -> None:
        if not tokens:
            raise ValueError("Tokens() needs a token: write Tokens({'…': 'operate'}).")
        if short := [token for token in tokens if len(token) < 16]:
            raise ValueError(f"A token needs at least 16 characters; {len(short)} of {len(tokens)} are shorter.")
        named = names or {}
        self._visitors = {
            _hashed(token).hex(): Visitor(role_of(role), named.get(token, f"token:{role_of(role).name.lower()}"))
            for token, role in tokens.items()
        }

    async def visitor(self, connection: HTTPConnection) -> Visitor:
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        found = self.by_token(token.strip()) if scheme.lower() == "bearer" else None
        return Visitor(Role.NONE) if found is None else found[1]

    def by_token(self, token: str) -> tuple[str, Visitor] | None:
        known = _hashed(token).hex()
        visitor = self.by_hash(known)
        return None if visitor is None else (known, visitor)

    def by_hash(self, known: str) -> Visitor | None:
        given = known.encode(errors="replace")
        found = [visitor for own, visitor in self._visitors.items() if hmac.compare_digest(own.encode(), given)]
        return found[0] if found else None


class Passwords(Access):
    """HTTP Basic authentication. Use it only behind TLS.

    :param users: the password and role of each user: ``{"ada": ("…", "operate")}``.
    """

    challenge = 'Basic realm="Pyncette", charset="UTF-8"'

    def __init__(self, users: Mapping[str, tuple[str, Role | Word]]) -> None:
        if not users:
            raise ValueError("Passwords() needs a user: write Passwords({'ada': ('…', 'operate')}).")
        if any(not password for password, _ in users.values()):
            raise ValueError("A password is empty: set one.")
        self._users = {name: (_hashed(password), role_of(role)) for name, (password, role) in users.items()}

    async def visitor(self, connection: HTTPConnection) -> Visitor:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return Visitor(Role.NONE)
        try:
            name, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return Visitor(Role.NONE)
        known, role = self._users.get(name, (_hashed(""), Role.NONE))
        if hmac.compare_digest(known, _hashed(password)):
            return Visitor(role, name)
        return Visitor(Role.NONE)


class Checked(Access):
    """The host application's own check."""

    def __init__(self, check: Check) -> None:
        self._check = check

    async def visitor(self, connection: HTTPConnection) -> Visitor:
        found = self._check(connection)
        said = await found if inspect.isawaitable(found) else found
        if isinstance(said, Visitor):
            return said
        return Visitor(Role.NONE if said is None else role_of(said), "host")


def access_of(given: Access | Check | None) -> Access:
    """
    :raises TypeError: it is neither an :class:`Access` nor callable.
    """
    anything: object = given
    if given is None:
        return Loopback()
    if isinstance(given, Access):
        return given
    if callable(anything) and not isinstance(anything, type):
        return Checked(given)
    raise TypeError(
        "access must be Loopback(), Tokens({…}), Passwords({…}), or a function that takes the request and returns "
        f"a role, not {given!r}."
    )


def role_of(given: Role | Word) -> Role:
    """
    :raises ValueError: there is no such role.
    """
    if isinstance(given, Role):
        return given
    try:
        return Role[given.upper()]
    except (KeyError, AttributeError):
        raise ValueError(f"A role is 'none', 'read' or 'operate', not {given!r}.") from None


def is_loopback(host: str) -> bool:
    """Whether a name or an address is the machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(header: str) -> str:
    """Without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _hashed(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
