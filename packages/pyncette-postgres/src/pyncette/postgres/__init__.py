"""PostgreSQL storage for Pyncette."""

from pyncette.repository import Backend

from .repository import PostgresRepository, postgres_repository
from .schema import schema_sql
from .settings import options_from_url

__all__ = ["PostgresRepository", "backend", "postgres_repository", "schema_sql"]

backend: Backend = Backend(factory=postgres_repository, options_from_url=options_from_url)
