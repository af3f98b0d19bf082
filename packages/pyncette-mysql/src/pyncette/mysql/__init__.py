"""MySQL and MariaDB storage for Pyncette."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pyncette.bridge import asyncio_only
from pyncette.repository import Backend, Repository

from .connections import Connections
from .database import Database
from .repository import MySQLRepository
from .schema import prepare
from .settings import Settings, options_from_url
from .statements import Statements

__all__ = ["MySQLRepository", "backend", "mysql_repository"]


@asyncio_only
def mysql_repository(
    *,
    mysql_host: str,
    mysql_user: str,
    mysql_database: str,
    mysql_password: str | None = None,
    mysql_port: int = 3306,
    mysql_table_name: str = "pyncette_tasks",
    mysql_skip_table_create: bool = False,
    mysql_pool_size: int = 10,
    mysql_ssl: bool | ssl.SSLContext | None = None,
) -> AbstractAsyncContextManager[Repository]:
    """A repository in a table of MySQL (8.0.22 or newer) or MariaDB (10.6 or newer).

    :param mysql_table_name: created when the repository is opened and the table does not exist.
    :param mysql_skip_table_create: never create the table; opening fails if it does not exist.
    :param mysql_pool_size: how many connections are open at most. They are opened when they are needed.
    :param mysql_ssl: True encrypts, and trusts any certificate; an ``ssl.SSLContext`` encrypts, and decides whom to
        trust. Otherwise nothing is encrypted, but the password.
    :raises ValueError, TypeError: an option makes no sense.

    Opening raises :class:`~pyncette.errors.RepositoryUnavailableException` if the server can't be reached,
    :class:`~pyncette.errors.StorageVersionException` if another version of Pyncette wrote the table, and otherwise
    :class:`~pyncette.errors.RepositoryException`, which says what to do.
    """
    return _open(
        Settings(
            host=mysql_host,
            port=mysql_port,
            user=mysql_user,
            password=mysql_password,
            database=mysql_database,
            table_name=mysql_table_name,
            skip_table_create=mysql_skip_table_create,
            pool_size=mysql_pool_size,
            tls=mysql_ssl,
        )
    )


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Repository]:
    connections = Connections(settings)
    try:
        found = await prepare(connections, settings)
        database = Database(connections, found.max_packet)
        yield MySQLRepository(database, Statements(settings.table_name, found.dialect))
    finally:
        await connections.close()


backend: Backend = Backend(factory=mysql_repository, options_from_url=options_from_url)
"""What ``mysql://`` stands for."""
