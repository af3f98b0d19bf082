"""Translates the driver's errors into Pyncette's."""

from __future__ import annotations

from asyncmy.errors import MySQLError, NotSupportedError

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException

from .settings import Settings

DRIVER_ERRORS = (MySQLError, OSError)
"""Everything that the driver raises on purpose; a timeout is an OSError."""

ACCESS_DENIED = frozenset({1044, 1045, 1698, 1820, 1862, 3118, 3955, 4151})
UNKNOWN_DATABASE = 1049
COMMAND_DENIED = frozenset({1142, 1143, 1227})
TABLE_EXISTS = 1050

LOCK_WAIT_TIMEOUT = 1205
IS_LOCKED = frozenset({LOCK_WAIT_TIMEOUT, 3572})
"""The row is locked: the codes of NOWAIT in MariaDB and MySQL, and of an insert whose wait has timed out."""

NO_SUCH_SAVEPOINT = 1305
READ_ONLY = 1792

NOTHING_APPLIED = frozenset({LOCK_WAIT_TIMEOUT, 1213, 3101})
"""Lock wait timeout, deadlock, and a commit refused by a replication group. Everything was rolled back."""

_REFUSED = frozenset({1118, 1153, 1264, 1301, 1366, 1406})
"""Too large for a row, a packet or a column; out of range; or not valid text."""

_NO_ROOM = frozenset({1021, 1037, 1038, 1040, 1041, 1114, 1129, 1135, 1203, 1226})
_GOING_DOWN_OR_NOT_THE_PRIMARY = frozenset({1047, 1053, 1077, 1078, 1079, 1080, 1290, 1792, 1836, 3032, 3168})
_ENDED_FROM_OUTSIDE = frozenset({1042, 1152, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 1969, 3024, 3169, 4031})
_UNKNOWN = frozenset({1030, 1105})
"""Errors of the storage engine and unspecific ones, among them that of a statement interrupted by a shutdown."""

_UNAVAILABLE = _NO_ROOM | _GOING_DOWN_OR_NOT_THE_PRIMARY | _ENDED_FROM_OUTSIDE | _UNKNOWN | NOTHING_APPLIED

_NOT_SUPPORTED = frozenset({2059, 2061})
"""The server requires an authentication method that the driver doesn't support."""

_FIRST_OF_CLIENT = 2000
_LAST_OF_CLIENT = 2999
"""Errors up to this one come from the client: it can't connect, or the connection is lost."""


def number(error: BaseException | None) -> int:
    """The number of an error from the server or the driver; 0 if it has none."""
    first = error.args[0] if isinstance(error, MySQLError) and error.args else 0
    return first if isinstance(first, int) else 0


def words(error: BaseException) -> str:
    """The message of the server or the driver, as a sentence."""
    text = str(error.args[1] if number(error) and len(error.args) > 1 else error).rstrip(".")
    return f"{text} (error {number(error)})." if number(error) else f"{text}."


def lost_connection(error: BaseException) -> bool:
    """Whether the error did not come from the server, so that the connection can't be used any more."""
    return number(error) == 0 or _FIRST_OF_CLIENT <= number(error) <= _LAST_OF_CLIENT


def not_supported(error: RuntimeError) -> NotSupportedError:
    """The driver raises a RuntimeError if it lacks a library for the authentication method."""
    return NotSupportedError(min(_NOT_SUPPORTED), str(error))


def translated(error: Exception) -> RepositoryException:
    """The exception to raise ``from`` the driver's error."""
    if isinstance(error, TimeoutError):
        return RepositoryUnavailableException("The MySQL server did not answer in time.")
    if number(error) in _NOT_SUPPORTED:
        return RepositoryException(f"The driver can't log in to the MySQL server: {words(error)}")
    if lost_connection(error) or number(error) in _UNAVAILABLE:
        return RepositoryUnavailableException(f"The MySQL server can't be used at the moment: {words(error)}")
    if number(error) in _REFUSED:
        return RecordRefusedException(f"The MySQL server can't store this: {words(error)}")
    return RepositoryException(f"The MySQL server refused a statement: {words(error)}")


def at_start(error: Exception, settings: Settings) -> RepositoryException:
    """The exception to raise when the storage can't be opened.

    :param error: the driver's error.
    """
    server = f"the MySQL server at {settings.host}:{settings.port}"
    if number(error) in ACCESS_DENIED:
        return RepositoryException(
            f"Access to {server} was denied: {words(error)} "
            "Check mysql_user and mysql_password, and what the user may do in mysql_database."
        )
    if number(error) == UNKNOWN_DATABASE:
        return RepositoryException(
            f"There is no database {settings.database!r} on {server}: create it, or give another mysql_database."
        )
    if number(error) in COMMAND_DENIED:
        return RepositoryException(
            f"The user {settings.user!r} may not create or change the table {settings.table_name!r} on {server}: "
            f"{words(error)} Grant CREATE and ALTER, or have somebody run what "
            f"pyncette.mysql.schema_sql({settings.table_name!r}) returns, and give mysql_skip_table_create=True."
        )
    ours = translated(error)
    hint = _hint_with_tls(error) if settings.tls else _hint_without_tls(error)
    return type(ours)(f"Could not open the storage on {server}. {ours}{hint}")


def _hint_with_tls(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            " The certificate is not trusted: give mysql_ssl=ssl.create_default_context(cafile=...) with the file "
            "of the authority that signed it."
        )
    if "SSL" in str(error):
        return " The server may not offer TLS: remove mysql_ssl, or set TLS up on the server."
    return ""


def _hint_without_tls(error: Exception) -> str:
    if "secure transport" in str(error).lower():
        return " The server takes encrypted connections only: give mysql_ssl=True or an ssl.SSLContext."
    return ""
