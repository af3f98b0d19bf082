"""MySQL and MariaDB storage for Pyncette."""

from pyncette.repository import Backend

from .repository import MySQLRepository, mysql_repository
from .schema import schema_sql
from .settings import options_from_url

__all__ = ["MySQLRepository", "backend", "mysql_repository", "schema_sql"]

backend: Backend = Backend(factory=mysql_repository, options_from_url=options_from_url)
"""The backend of ``mysql://`` URLs."""
