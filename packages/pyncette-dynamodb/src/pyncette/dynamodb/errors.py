"""Translates errors of the driver and of DynamoDB into Pyncette's."""

from __future__ import annotations

import enum

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as DriverConnectionError

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException

from .codec import LARGEST_SPEC

DRIVER_ERRORS: tuple[type[Exception], ...] = (ClientError, BotoCoreError, OSError)
"""Everything that the driver raises."""

SERVER_ERROR = 500

_SOURCES = (
    "Credentials are taken from where AWS's tools look: the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a "
    "profile (AWS_PROFILE), or the role of the machine or container."
)

# Error codes. Those of requests are listed without "Exception" at the end.
_THROTTLED = frozenset(
    {"ProvisionedThroughputExceeded", "RequestLimitExceeded", "Throttling", "ThrottlingError", "TransactionConflict"}
)
_LOST = frozenset({"ConditionalCheckFailed", "DuplicateItem"})

_UNKNOWN_KEY = ("it refuses the credentials", _SOURCES)
_WRONG_SIGNATURE = (
    "it refuses the signature of a request",
    "The secret access key is wrong, or this machine's clock is.",
)

# What is wrong, and what to do.
_PERMANENT = {
    "AccessDenied": (
        "a permission is missing",
        "The documentation of pyncette-dynamodb has the policy that is needed.",
    ),
    "IncompleteSignature": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "InvalidSignature": _WRONG_SIGNATURE,
    "MissingAuthenticationToken": _UNKNOWN_KEY,
    "ResourceNotFound": ("it is gone", "It is made when an app starts."),
    "SignatureDoesNotMatch": _WRONG_SIGNATURE,
    "UnrecognizedClient": _UNKNOWN_KEY,
}


class Outcome(enum.Enum):
    """The outcome of one statement of a batch."""

    APPLIED = "applied"
    LOST = "lost"
    """Its condition did not hold: another client was faster."""
    THROTTLED = "throttled"
    """It was not tried."""
    UNKNOWN = "unknown"


def outcome(code: str | None) -> Outcome | None:
    """The outcome that an error code stands for; None if the statement can't be executed at all."""
    if code is None:
        return Outcome.APPLIED
    if code in _LOST:
        return Outcome.LOST
    if code in _THROTTLED:
        return Outcome.THROTTLED
    return Outcome.UNKNOWN if code == "InternalServerError" else None


def is_throttled(error: Exception) -> bool:
    """Whether DynamoDB throttled a request, and executed none of it."""
    return isinstance(error, ClientError) and _code(error) in _THROTTLED


def is_server_fault(error: Exception) -> bool:
    """Whether DynamoDB itself failed, so that the same request may succeed next time."""
    return isinstance(error, ClientError) and _status(error) >= SERVER_ERROR


def translated(error: Exception, where: str) -> RepositoryException:
    """The exception to raise from ``error``.

    :param where: the table, for the message.
    """
    if isinstance(error, ClientError):
        return _answered(error, where)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return RepositoryException(f"{where}: there are no credentials for AWS. {_SOURCES}")
    if isinstance(error, CredentialRetrievalError | SSOError | TokenRetrievalError):
        return RepositoryUnavailableException(f"{where}: credentials for AWS can't be had now ({_said(error)}).")
    if isinstance(error, NoRegionError):
        return RepositoryException(
            f"{where}: no region is known. Give dynamodb_region_name, or set AWS_REGION. (DynamoDB Local takes any.)"
        )
    if isinstance(error, ProfileNotFound):
        return RepositoryException(f"{where}: {_said(error)}.")
    if isinstance(error, DriverConnectionError | HTTPClientError | OSError):
        return RepositoryUnavailableException(
            f"{where} can't be reached ({_said(error)}). If this continues, look at dynamodb_region_name and at "
            "dynamodb_endpoint."
        )
    return RepositoryException(f"{where}: the driver failed ({_said(error)}).")


def refused(code: str, message: str, where: str) -> RepositoryException:
    """The exception for a statement or a request that can't be executed."""
    if code.startswith("Validation") and "size" in message.lower():
        return RecordRefusedException(f"{where} can't take a record ({message}). {largest()}")
    if code in _PERMANENT:
        what, advice = _PERMANENT[code]
        return RepositoryException(f"{where}: {what} ({message}). {advice}")
    return RepositoryException(f"{where} refused an operation ({code}: {message}).")


def largest() -> str:
    return f"Schedule and arguments of an instance may have {LARGEST_SPEC:,} bytes."


def _answered(error: ClientError, where: str) -> RepositoryException:
    code, message = _code(error), _said(error)
    if code in _THROTTLED:
        return RepositoryUnavailableException(f"{where} is asked for more than its capacity ({message}).")
    if code in {"ExpiredToken", "RequestExpired"}:
        return RepositoryUnavailableException(f"{where}: the credentials have expired, renew them ({message}).")
    if _status(error) >= SERVER_ERROR:
        return RepositoryUnavailableException(f"{where} can't be used for now ({code}: {message}).")
    return refused(code, message, where)


def _code(error: ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code.removesuffix("Exception")


def _status(error: ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def _said(error: Exception) -> str:
    """What the error says, in one line."""
    text = error.response.get("Error", {}).get("Message", "") if isinstance(error, ClientError) else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
