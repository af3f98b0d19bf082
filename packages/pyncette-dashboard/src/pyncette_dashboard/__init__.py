"""The dashboard of Pyncette: an ASGI application that shows what is scheduled, and lets operators change it."""

from __future__ import annotations

from .access import Access, Loopback, Passwords, Role, Tokens, Visitor
from .dashboard import Dashboard

__all__ = ["Access", "Dashboard", "Loopback", "Passwords", "Role", "Tokens", "Visitor"]
