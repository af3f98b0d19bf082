"""SQLite storage for Pyncette."""

from pyncette.repository import Backend

from .repository import SqliteRepository, sqlite_repository
from .schema import schema_sql
from .settings import options_from_url

__all__ = ["SqliteRepository", "backend", "schema_sql", "sqlite_repository"]

backend: Backend = Backend(factory=sqlite_repository, options_from_url=options_from_url)
