"""The driver's HTTP session, with connections that are replaced when the network stops answering."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from aiobotocore.httpsession import AIOHTTPSession

from pyncette.cancellation import fell_silent


class Session:
    """For the driver's option ``http_session_cls``.

    A batch of writes needs many connections, and the driver's pool can't be told to close idle ones. So after a request
    that got no answer, a session with a new pool takes over. The old one is closed when its last request has ended.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._current = _Pool(options)
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._retire(self._current)
        while self._closing:
            await asyncio.wait(self._closing)

    async def send(self, request: Any) -> Any:
        """:raises botocore.exceptions.HTTPClientError: or a subclass: there was no answer."""
        pool = self._current
        since = asyncio.get_running_loop().time()
        pool.requests += 1
        try:
            return await pool.session.send(request)
        except BaseException:
            if pool is self._current and fell_silent(since):
                self._current = _Pool(self._options)
            raise
        finally:
            pool.requests -= 1
            if pool is not self._current and not pool.requests:
                self._retire(pool)

    def _retire(self, pool: _Pool) -> None:
        task = asyncio.create_task(pool.session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Pool:
    """A session of the driver, and the number of requests under way on it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.session: Any = AIOHTTPSession(**options)
        self.requests = 0
