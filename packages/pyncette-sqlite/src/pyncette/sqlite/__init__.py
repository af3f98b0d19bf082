"""SQLite storage for Pyncette."""

from pyncette.repository import Backend

from .location import options_from_url
from .repository import SqliteRepository, sqlite_repository

__all__ = ["SqliteRepository", "backend", "sqlite_repository"]

backend: Backend = Backend(factory=sqlite_repository, options_from_url=options_from_url)
