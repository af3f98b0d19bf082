"""The connection: how requests reach DynamoDB, and which errors result if they don't."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aioboto3
import anyio
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError, ConnectionClosedError

from pyncette import backoff
from pyncette.errors import RepositoryException

from .errors import DRIVER_ERRORS, is_server_fault, is_throttled, translated
from .http import Session
from .settings import Settings

T = TypeVar("T")

CONNECTIONS = 32
"""The maximum number of concurrent requests; further ones wait."""

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection."""

READ_TIMEOUT = 15.0
"""Seconds to wait for an answer."""

CLOSE_TIMEOUT = 1.0
"""Seconds that closing may take."""

ATTEMPTS = 10
"""How often a throttled request is sent, which takes about 3 seconds in total."""

ATTEMPTS_WHEN_CUT = 3
"""How often a read is sent if its connection breaks."""

MOST_SKEW = 5.0
"""The maximum difference in seconds between this machine's clock and DynamoDB's."""

_LARGE_REQUEST = 2**20
"""The size in bytes above which the driver warns about sending a request in one piece."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds


class Database:
    """One table.

    :ivar where: the table, for messages.
    """

    def __init__(self, client: Any, settings: Settings) -> None:
        self._client = client
        self.where: str = replace(settings, region=client.meta.region_name).where
        self.table: str = settings.table
        self._answered = (0.0, 0.0, "")  # the last answer: when the request was sent, when the answer arrived, its date

    async def send(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send a request once. The driver's errors are passed on unchanged."""
        asked = time.time()
        try:
            answer: dict[str, Any] = await getattr(self._client, operation)(**parameters)
        except ClientError as error:
            self._note(asked, error.response)
            raise
        self._note(asked, answer)
        return answer

    async def ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Send a read. It is repeated if DynamoDB fails, throttles it, or closes the connection.

        :raises RepositoryException: as :func:`~pyncette.dynamodb.errors.translated` has it.
        """
        attempt = 1
        while True:
            try:
                return await self.send(operation, **parameters)
            except DRIVER_ERRORS as error:
                if attempt >= _attempts(error):
                    raise translated(error, self.where) from error
            await pause(attempt)
            attempt += 1

    def _note(self, asked: float, answer: dict[str, Any]) -> None:
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        self._answered = (asked, time.time(), date)

    @property
    def skew(self) -> float:
        """By how many seconds at least this machine's clock is ahead of DynamoDB's, by the last answer; negative if it
        is behind."""
        return _skew(*self._answered)

    def check_clock(self) -> None:
        """Compare this machine's clock with DynamoDB's, which the last answer gave to the second.

        :raises RepositoryException: they differ by more than :data:`MOST_SKEW`.
        """
        skew = self.skew
        if abs(skew) > MOST_SKEW:
            raise RepositoryException(
                f"This machine's clock is at least {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of "
                f"DynamoDB; at most {MOST_SKEW:.0f} s are tolerated, for leases are judged by it. Synchronise it, for "
                "example with chrony or systemd-timesyncd."
            )


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Database]:
    """The driver's client, open for the duration of the block. Connections are opened when they are needed.

    :raises RepositoryException: the region is unknown, or the profile doesn't exist.
    """
    config = AioConfig(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=CONNECTIONS,
        parameter_validation=False,  # it costs more than all the rest, and our requests are uniform
        retries={"total_max_attempts": 1, "mode": "standard"},
        user_agent_extra="pyncette",
        http_session_cls=Session,
    )
    plain = settings.endpoint is not None and settings.endpoint.startswith("http:")
    try:
        opening = aioboto3.Session().client(
            "dynamodb",
            region_name=settings.region,
            endpoint_url=settings.endpoint,
            verify=False if plain else None,  # without TLS, there is no need to load the certificate authorities
            config=config,
        )
        client = await opening.__aenter__()
    except DRIVER_ERRORS as error:
        raise translated(error, settings.where) from error
    client.meta.events.register("before-send.dynamodb.BatchExecuteStatement", _send_piece_by_piece)
    try:
        yield Database(client, settings)
    finally:
        # Shielded: a cancelled app must close its connections too.
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await opening.__aexit__(None, None, None)


async def together(requests: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run them all, and raise the first error once all have ended, so that none continues unnoticed.

    ``asyncio.gather`` won't do: it loses the cancellation if the last task has just ended.
    """
    found: dict[int, T] = {}
    errors: list[Exception] = []

    async def run(place: int, request: Callable[[], Awaitable[T]]) -> None:
        try:
            found[place] = await request()
        except Exception as error:  # noqa: BLE001 -- raised below
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        for place, request in enumerate(requests):
            tasks.start_soon(run, place, request)
    if errors:
        raise errors[0]
    return [found[place] for place in range(len(found))]


async def pause(failures: int) -> None:
    """Wait before the next attempt."""
    await asyncio.sleep(backoff.pause(failures, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE))


def _attempts(error: Exception) -> int:
    """How often to send a read that fails with this error."""
    if is_throttled(error) or is_server_fault(error):
        return ATTEMPTS
    return ATTEMPTS_WHEN_CUT if isinstance(error, ConnectionClosedError) else 1


def _send_piece_by_piece(request: Any, **_: Any) -> None:
    """Avoids the driver's warning: a single record makes such a large request if all of its characters are escaped."""
    if len(request.body) > _LARGE_REQUEST:
        request.body = io.BytesIO(request.body)


def _skew(asked: float, answered: float, date: str) -> float:
    """By how many seconds at least our clock is ahead of the server's; negative if it is behind, 0 if unknown.

    The server's date has no fraction, and was taken at some moment between request and answer.
    """
    try:
        server = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0
    if asked > server + 1:
        return asked - server - 1
    return min(answered - server, 0.0)
