"""Translates errors of the driver and of the server into Pyncette's exceptions, which say what to do."""

from __future__ import annotations

from pyncette.errors import RepositoryException, RepositoryUnavailableException
from redis import exceptions as driver
from redis.asyncio.connection import SSLConnection

from .settings import Settings


class NoMasterError(driver.ConnectionError):
    """No sentinel names a master."""


TRANSPORT = (driver.RedisError, OSError, EOFError)
"""Everything that a call of the driver may raise; ``TimeoutError`` is an ``OSError``."""

_BROKEN = (driver.ConnectionError, driver.TimeoutError, driver.InvalidResponse, OSError, EOFError)

_TRANSIENT = {
    "BUSY": "runs somebody's slow script",
    "MISCONF": "can't persist, and so takes no writes",
    "NOREPLICAS": "has too few replicas to take writes",
    "UNBLOCKED": "changed its role during the call",
}


class Failures:
    """Translates errors of one repository.

    :ivar starting: whether the repository is being opened. A refusal is then a mistake in the configuration; later it
        is an outage that somebody may fix.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.starting = True

    def translate(self, error: BaseException) -> RepositoryException:
        self._mask(error)
        kind, text = self._judge(error, f"Redis at {self._settings.address}")
        translated = kind(text)
        translated.__cause__ = error
        return translated

    def _judge(self, error: BaseException, where: str) -> tuple[type[RepositoryException], str]:
        lasting = RepositoryException if self.starting else RepositoryUnavailableException
        if isinstance(error, (driver.AuthenticationError, driver.AuthorizationError)):
            if not self._settings.connection.get("password"):
                return lasting, f"{where} wants a password: write redis://user:password@host in redis_url. {error}"
            return lasting, f"{where} refuses the user or password in redis_url: {error}"
        if isinstance(error, driver.NoPermissionError):
            return lasting, (
                f"{where} does not permit the user what Pyncette needs: {error}. It needs the keys pyncette:* and the "
                "commands that its documentation lists."
            )
        if isinstance(error, _BROKEN):
            return self._judge_transport(error, where, lasting)
        code = str(error).partition(" ")[0]
        if isinstance(error, driver.OutOfMemoryError):
            return RepositoryUnavailableException, (
                f"{where} has reached its maxmemory and takes no new data; give it more memory: {error}"
            )
        if isinstance(error, driver.ReadOnlyError):
            return RepositoryUnavailableException, f"{where} is a replica, or became one: {error}"
        if isinstance(error, driver.ClusterDownError | driver.AskError | driver.TryAgainError):
            return RepositoryUnavailableException, f"{where} is a cluster that is being rearranged or repaired: {error}"
        if code in _TRANSIENT:
            return RepositoryUnavailableException, f"{where} {_TRANSIENT[code]}: {error}"
        if isinstance(error, driver.NoScriptError):
            return RepositoryUnavailableException, f"{where} forgets scripts faster than they can be used: {error}"
        return RepositoryException, f"{where} refused a request: {error}{_hint(str(error))}"

    def _judge_transport(
        self, error: BaseException, where: str, lasting: type[RepositoryException]
    ) -> tuple[type[RepositoryException], str]:
        unavailable = RepositoryUnavailableException
        if isinstance(error, driver.TimeoutError | TimeoutError):
            hint = " Does it speak TLS on this port? If not, write redis://." if self.starting and self._tls else ""
            return unavailable, f"{where} did not answer within {self._settings.timeout:g} s (redis_timeout).{hint}"
        if isinstance(error, driver.BusyLoadingError):
            return unavailable, f"{where} is still loading its data."
        if isinstance(error, NoMasterError):
            return unavailable, f"No master is known for {where}: {error}."
        if isinstance(error, driver.InvalidResponse):
            return lasting, f"What answers as {where} does not speak Redis's protocol: {error}"
        hint = _hint(str(error))
        if self.starting and not self._tls and "connecting to" not in str(error):  # a server answers, but not in TLS
            hint = " (if it expects TLS, write rediss://)"
        return unavailable, f"{where} can't be reached, or closed the connection: {error}{hint}"

    @property
    def _tls(self) -> bool:
        return self._settings.connection.get("connection_class") is SSLConnection

    def _mask(self, error: BaseException | None) -> None:
        """Remove the password: some servers repeat it in the error that refuses it."""
        while error is not None:
            if any(secret in str(error) for secret in self._settings.secrets):
                error.args = tuple(self._masked(part) for part in error.args)
            error = error.__cause__ or error.__context__

    def _masked(self, part: object) -> object:
        text = str(part)
        for secret in self._settings.secrets:
            text = text.replace(secret, "***")
        return text if text != str(part) else part


def _hint(text: str) -> str:
    if "unknown command" in text and "SENTINEL" in text:
        return " (this is not a sentinel; for the server itself use redis_mode='single')"
    if "unknown command" in text and "CLUSTER" in text:
        return " (this is no server of a cluster)"
    if "cluster support disabled" in text:
        return " (use redis_mode='single')"
    if "WRONG_VERSION_NUMBER" in text:
        return " (it does not speak TLS on this port; use redis:// or another port)"
    if "DB index is out of range" in text:
        return " (choose another database at the end of redis_url)"
    return ""
