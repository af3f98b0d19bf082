"""Executes scripts on the servers that hold their keys. A call is repeated only if the server said it was not
executed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pyncette.errors import RepositoryException
from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, TryAgainError

from .connection import Node
from .errors import TRANSPORT, Failures
from .router import Router
from .wire import ASKING, Call, Plain, load

MAX_ROUNDS = 16
PAUSE = 0.05
"""Seconds to wait before repeating a call that arrived while its slot was being moved."""


class _Attempt:
    """One call, and how it ended.

    :ivar result: the reply or the error.
    """

    def __init__(self, call: Call | Plain) -> None:
        self.call = call
        self.result: Any = None
        self.done = False
        self.wait = False
        self._node: Node | None = None
        self._asking = False
        self._loading = False

    def node(self, router: Router) -> Node:
        return self._node or router.node(self.call.slot)

    def commands(self) -> list[bytes]:
        """What to send; the last reply is the call's."""
        script = self.call.script
        before = [load(script)] if self._loading and script else []
        return [*before, ASKING, self.call.pack()] if self._asking else [*before, self.call.pack()]

    def take(self, reply: Any, node: Node, router: Router) -> None:
        """Interpret a reply. Another attempt follows only errors which say that nothing was done."""
        self.result = reply
        self.wait = False
        if isinstance(reply, NoScriptError) and not self._loading:
            self._loading, self._node = True, node
            return
        if isinstance(reply, AskError):
            self._asking = not isinstance(reply, MovedError)
            self._loading = False
            self._node = router.redirected(reply, node)
            self.done = self._node is None
            return
        if isinstance(reply, TryAgainError | ClusterDownError):
            router.invalidate()
            self._node, self._asking, self.wait = None, False, True
            return
        self.done = True

    def fail(self, error: BaseException) -> None:
        self.result, self.done = error, True


class Client:
    """The scripts of one repository. May be called concurrently."""

    def __init__(self, router: Router, failures: Failures, *, timeout: float) -> None:
        self._router = router
        self._failures = failures
        self._timeout = timeout

    async def one(self, call: Call | Plain) -> Any:
        """:raises RepositoryException: it failed. RepositoryUnavailableException: the outcome is unknown."""
        (reply,) = await self.all([call])
        return reply

    async def all(self, calls: Sequence[Call | Plain]) -> list[Any]:
        """The same for several calls at once; those to the same server share a round trip."""
        results = await self.each(calls)
        for result in results:
            if isinstance(result, RepositoryException):
                raise result
        return results

    async def each(self, calls: Sequence[Call | Plain]) -> list[Any]:
        """The same, but errors are among the results."""
        attempts = [_Attempt(call) for call in calls]
        deadline = asyncio.get_running_loop().time() + self._timeout
        for _ in range(MAX_ROUNDS):
            pending = [attempt for attempt in attempts if not attempt.done]
            if not pending or asyncio.get_running_loop().time() > deadline:
                break
            if any(attempt.wait for attempt in pending):
                await asyncio.sleep(PAUSE)
            await self._round(pending)
        return [self._outcome(attempt) for attempt in attempts]

    async def masters(self, commands: Sequence[bytes]) -> list[list[Any]]:
        """The replies of every reachable master to these commands; errors from a server are among the replies.

        :raises RepositoryException: no master can be reached.
        """
        found: list[list[Any]] = []
        try:
            await self._router.prepare()
            nodes = self._router.masters()
            for number, node in enumerate(nodes, 1):
                try:
                    found.append(await node.run(commands))
                except TRANSPORT:
                    await self._router.report_failure(node)
                    if number == len(nodes) and not found:
                        raise
        except TRANSPORT as error:
            raise self._failures.translate(error) from error
        return found

    async def plain(self, slot: int, *words: str) -> Any:
        """The reply to an ordinary command from the server that holds the slot."""
        return await self.one(Plain(slot, words))

    async def aclose(self) -> None:
        await self._router.aclose()

    async def _round(self, attempts: Sequence[_Attempt]) -> None:
        groups: dict[Node, list[_Attempt]] = {}
        try:
            await self._router.prepare()
        except TRANSPORT as error:
            for attempt in attempts:
                attempt.fail(error)
            return
        for attempt in attempts:
            try:
                groups.setdefault(attempt.node(self._router), []).append(attempt)
            except ClusterDownError as error:
                attempt.fail(error)
        if len(groups) == 1:
            ((node, group),) = groups.items()
            await self._send(node, group)
        else:
            await asyncio.gather(*(self._send(node, group) for node, group in groups.items()))

    async def _send(self, node: Node, group: Sequence[_Attempt]) -> None:
        batches = [attempt.commands() for attempt in group]
        try:
            replies = await node.run([packed for batch in batches for packed in batch])
        except TRANSPORT as error:
            await self._router.report_failure(node)
            for attempt in group:
                attempt.fail(error)
            return
        at = -1
        for attempt, batch in zip(group, batches, strict=True):
            at += len(batch)
            attempt.take(replies[at], node, self._router)

    def _outcome(self, attempt: _Attempt) -> Any:
        result = attempt.result
        if isinstance(result, BaseException):
            return self._failures.translate(result)
        return result
