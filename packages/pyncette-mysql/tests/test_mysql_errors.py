"""Which exceptions the driver's errors become."""

from __future__ import annotations

import pytest
from asyncmy.errors import InterfaceError, InternalError, MySQLError, OperationalError, ProgrammingError

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException
from pyncette.mysql.errors import translated


@pytest.mark.parametrize(
    "error, ours, text",
    [
        (OperationalError(2013, "Lost connection"), RepositoryUnavailableException, "Lost connection (error 2013)."),
        (OperationalError(2006, "gone away"), RepositoryUnavailableException, "gone away (error 2006)."),
        (InterfaceError(0, "Not connected"), RepositoryUnavailableException, "Not connected"),
        (InternalError("Packet sequence number wrong"), RepositoryUnavailableException, "sequence"),
        (OperationalError(1040, "Too many connections"), RepositoryUnavailableException, "Too many connections"),
        (OperationalError(1053, "Server shutdown in progress"), RepositoryUnavailableException, "shutdown"),
        (OperationalError(1105, "An error occurred in multi-table update"), RepositoryUnavailableException, "occurred"),
        (OperationalError(1213, "Deadlock found"), RepositoryUnavailableException, "Deadlock"),
        (OperationalError(1290, "--read-only"), RepositoryUnavailableException, "read-only"),
        (OperationalError(1317, "interrupted"), RepositoryUnavailableException, "interrupted"),
        (TimeoutError(), RepositoryUnavailableException, "in time"),
        (ConnectionResetError(104, "reset by peer"), RepositoryUnavailableException, "reset by peer"),
        (OperationalError(1153, "bigger than 'max_allowed_packet'"), RecordRefusedException, "max_allowed_packet"),
        (OperationalError(1406, "Data too long."), RecordRefusedException, "Data too long (error 1406)."),
        (ProgrammingError(1146, "Table doesn't exist"), RepositoryException, "doesn't exist (error 1146)."),
        (OperationalError(1142, "command denied"), RepositoryException, "command denied"),
    ],
)
def test_errors(error: MySQLError, ours: type[RepositoryException], text: str) -> None:
    found = translated(error)
    assert type(found) is ours
    assert text in str(found)
