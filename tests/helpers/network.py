"""A proxy between an app and its storage that simulates network faults on request. It is independent of the
protocol."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Self


@dataclass(eq=False, slots=True)
class _Link:
    """A connection. Once it has lost data, it stays silent: neither end learns that the other is gone.

    :ivar deaf: whether the direction to the client was closed.
    """

    silent: bool
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    deaf: bool = False

    def cut(self) -> None:
        """Reset the connection in both directions, so that both ends notice."""
        self.client.transport.abort()
        self.server.transport.abort()


class Network:
    """Listens on a separate port, and forwards data.

    :ivar port: the port for clients.
    :ivar latency: seconds by which answers are delayed.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._links: set[_Link] = set()
        self._waiting: set[asyncio.StreamWriter] = set()
        self._down = False
        self.port = 0
        self.latency = 0.0

    def swallow(self) -> None:
        """Drop all data until :meth:`restore`, on new connections too. Open connections stay silent forever."""
        self._down = True
        for link in list(self._links):  # a test may serve the network in another thread
            link.silent = True

    def restore(self) -> None:
        """New connections work again."""
        self._down = False

    def drop(self) -> None:
        """Reset every connection. New ones work."""
        for link in list(self._links):
            link.cut()

    def half_close(self) -> None:
        """Close every connection in one direction: clients receive nothing more, but the server does."""
        for link in self._links:
            if not link.deaf and not link.client.is_closing():
                link.deaf = True
                link.client.write_eof()

    def lead_to(self, host: str, port: int) -> None:
        """Switch to another server: reset every connection, and forward new ones to that server."""
        self._server = (host, port)
        self.drop()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.drop()
        for writer in self._waiting:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._waiting.add(to_client)
        try:
            server, to_server = await asyncio.open_connection(*self._server)
        except OSError:
            to_client.transport.abort()
            return
        finally:
            self._waiting.discard(to_client)
        link = _Link(self._down, to_client, to_server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(link, client, to_server, answers=False))
                tasks.create_task(self._pass_on(link, server, to_client, answers=True))
        except* (OSError, EOFError):
            pass
        finally:
            self._links.discard(link)
            link.cut()

    async def _pass_on(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(65536):
            if answers and self.latency:
                await asyncio.sleep(self.latency)
            if not link.silent and not (answers and link.deaf):
                writer.write(data)
                with suppress(ConnectionError):
                    await writer.drain()
        raise EOFError
