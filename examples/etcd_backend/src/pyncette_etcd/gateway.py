"""etcd's JSON gateway: transactions and what they are made of."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from pyncette.errors import RecordRefusedException, RepositoryException, RepositoryUnavailableException

Operation = dict[str, Any]

MOST_OPERATIONS = 128
"""Of a transaction: etcd's own limit, unless it was started with another one."""
MOST_NESTED = 120
"""Transactions within another one: what they hold themselves counts as well, as much of it as one of them has."""
TOO_LARGE = "request is too large"
UNAVAILABLE = (4, 8, 14)
"""gRPC's codes for: timed out, out of space, unavailable."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value.

    :ivar revision: of the whole store when the key was last written; 0 where there is no key.
    """

    key: bytes
    value: bytes
    revision: int


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Gateway:
    """Sends requests. A connection that is cancelled in the middle of one is closed by aiohttp."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, timeout: float) -> AsyncIterator[Gateway]:
        limits = aiohttp.ClientTimeout(total=timeout)
        async with aiohttp.ClientSession(url, timeout=limits) as session:
            yield cls(session)

    @staticmethod
    def get(key: bytes, end: bytes = b"", *, limit: int = 0, only: str = "", revision: int = 0) -> Operation:
        """Read the key, or all from it to before ``end``; ``only`` their ``keys`` or their ``count``."""
        asked: dict[str, Any] = {"key": encoded(key), "limit": limit, "revision": revision}
        asked |= {"range_end": encoded(end)} if end else {}
        asked |= {f"{only}_only": True} if only else {}
        return {"request_range": asked}

    @staticmethod
    def put(key: bytes, value: bytes) -> Operation:
        return {"request_put": {"key": encoded(key), "value": encoded(value)}}

    @staticmethod
    def delete(key: bytes) -> Operation:
        return {"request_delete_range": {"key": encoded(key)}}

    @staticmethod
    def unchanged(key: bytes, revision: int) -> Operation:
        """The condition that the key was last written at this revision of the store; 0: that there is none."""
        return {"key": encoded(key), "target": "MOD", "mod_revision": revision, "result": "EQUAL"}

    @staticmethod
    def nested(compare: Sequence[Operation], success: Sequence[Operation]) -> Operation:
        """A transaction within another one, with conditions of its own."""
        return {"request_txn": {"compare": list(compare), "success": list(success)}}

    @staticmethod
    def found(answer: dict[str, Any]) -> Iterator[Entry]:
        """The entries that each read of a transaction found."""
        for response in answer.get("responses", ()):
            for entry in response.get("response_range", {}).get("kvs", ()):
                key, value = (base64.b64decode(entry.get(part, "")) for part in ("key", "value"))
                yield Entry(key, value, int(entry["mod_revision"]))

    async def txn(
        self,
        *,
        compare: Sequence[Operation] = (),
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> dict[str, Any]:
        """One transaction, which etcd carries out as a whole or not at all."""
        request = {"compare": list(compare), "success": list(success), "failure": list(failure)}
        try:
            body = io.BytesIO(json.dumps(request).encode())  # which aiohttp sends piece by piece
            async with self._session.post("/v3/kv/txn", data=body) as response:
                answer: dict[str, Any] = await response.json(content_type=None)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise RepositoryUnavailableException(f"etcd can't be reached: {type(error).__name__}") from error
        if status != 200:
            _refuse(status, answer)
        return answer


def _refuse(status: int, answer: dict[str, Any]) -> None:
    """Raise what stands for the error that etcd answered with."""
    message = str(answer.get("message") or answer.get("error"))
    error = aiohttp.ClientError(f"{status}: {message}")
    if TOO_LARGE in message:
        raise RecordRefusedException("etcd takes no requests of more than 1.5 MiB (--max-request-bytes)") from error
    if status in (502, 503, 504) or answer.get("code") in UNAVAILABLE:
        raise RepositoryUnavailableException(f"etcd can't answer now: {message}") from error
    raise RepositoryException(f"etcd refused a request: {message}") from error
