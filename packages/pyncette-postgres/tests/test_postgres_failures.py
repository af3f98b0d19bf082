"""Errors that a test server can't cause on demand: which of Pyncette's exceptions they become, and the message."""

from __future__ import annotations

import ssl

import asyncpg
import pytest

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.postgres.errors import translated


@pytest.mark.parametrize(
    "error, becomes, said",
    [
        (
            asyncpg.DiskFullError("no space left"),
            RepositoryUnavailableException,
            "for now (no space left)",
        ),
        (asyncpg.OutOfMemoryError("out of memory"), RepositoryUnavailableException, "can't be used for now"),
        (asyncpg.CannotConnectNowError("starting up"), RepositoryUnavailableException, "starting up"),
        (asyncpg.CrashShutdownError("another process crashed"), RepositoryUnavailableException, "crashed"),
        (asyncpg.ConnectionDoesNotExistError("closed"), RepositoryUnavailableException, "closed"),
        (asyncpg.ProtocolViolationError("query_wait_timeout"), RepositoryUnavailableException, "query_wait_timeout"),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), RepositoryUnavailableException, "read-only"),
        (asyncpg.InterfaceError("connection is closed"), RepositoryUnavailableException, "was lost"),
        (asyncpg.InternalClientError("out of step"), RepositoryUnavailableException, "was lost"),
        (ConnectionRefusedError("refused"), RepositoryUnavailableException, "can't be reached (refused)"),
        (TimeoutError(), RepositoryUnavailableException, "did not answer in time"),
        (ssl.SSLCertVerificationError("self-signed"), RepositoryException, "can't be verified"),
        (asyncpg.InvalidAuthorizationSpecificationError("no entry"), RepositoryException, "does not let the user"),
        (asyncpg.DuplicatePreparedStatementError("there"), RepositoryException, "postgres_statement_cache_size=0"),
        (asyncpg.UndefinedFunctionError("no such\nfunction"), RepositoryException, "(no such function)"),
        (asyncpg.ProgramLimitExceededError("index row size"), RecordRefusedException, "may have 67,108,864 bytes"),
        (asyncpg.UntranslatableCharacterError("\\u0000"), RecordRefusedException, "can't take a record"),
        (asyncpg.DataError("value out of int64 range"), RecordRefusedException, "int64"),
    ],
)
def test_translation(error: Exception, becomes: type[RepositoryException], said: str) -> None:
    found = translated(error, "PostgreSQL at host")
    assert type(found) is becomes
    assert said in str(found)
    assert "PostgreSQL at host" in str(found)
