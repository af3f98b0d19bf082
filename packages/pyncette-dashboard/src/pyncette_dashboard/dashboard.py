"""The ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from pyncette import Pyncette, PyncetteContext
from pyncette.errors import PyncetteException

from .access import Access, Check, access_of
from .cache import TIMEOUT, AnswerCache, QueryCounter, Unreachable
from .guard import HEADERS, Guard
from .jobs import Jobs
from .services import Services
from .session import Signer
from .templating import compile_templates
from .views import routes

logger: logging.Logger = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")


class Dashboard:
    """The dashboard of an app or of a storage: an ASGI application to mount in another one or to serve on its own.

    It opens the storage at its first request. A host application with a lifespan can open and close the dashboard
    there, and share its own context, which an app in memory requires: ``async with app.create() as context,
    dashboard.opened(context): …``

    :param source: the app, or the URL of a storage.
    :param access: who may do what: :class:`Loopback` (the default), :class:`Tokens`, :class:`Passwords`, or a function
        that takes the request and returns a role.
    :param hide_arguments: don't show the arguments of instances.
    :param secret: signs cookies and forms; several processes that serve one dashboard need the same one. Random by
        default.
    :param title: shown on each page.
    :param root_path: the prefix of all paths, such as ``/jobs``, if neither the host nor the server sets it. Paths of
        requests may or may not include it.
    :param options: further options of the storage, as for :meth:`pyncette.Pyncette.create`.
    :raises TypeError: ``source`` is neither an app nor a URL, or an option is unknown.
    """

    def __init__(
        self,
        source: Pyncette | str,
        *,
        access: Access | Check | None = None,
        hide_arguments: bool = False,
        secret: str | None = None,
        title: str = "Pyncette",
        root_path: str = "",
        **options: Any,
    ) -> None:
        if not isinstance(source, Pyncette | str):
            raise TypeError(f"Dashboard() takes an app or the URL of a storage, not {type(source).__name__}.")
        self._app = Pyncette(source, **options) if isinstance(source, str) else source
        self._options = {} if isinstance(source, str) else options
        self._app.use_observer(QueryCounter())
        self._title = title
        self._root_path = root_path.rstrip("/")
        self._hide_arguments = hide_arguments
        self._services: Services | None = None
        self._opening: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None]
        self._signer = Signer(secret)
        guard = Guard(access_of(access), self._signer, title, self._open_services)
        static = Mount("/static", StaticFiles(directory=STATIC), name="static")
        self._web = Starlette(routes=[*routes(guard), static])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._web(_located(scope, self._root_path), receive, _hardened(send))

    @asynccontextmanager
    async def opened(self, context: PyncetteContext | None = None) -> AsyncIterator[None]:
        """Keep the dashboard open within a host's lifespan.

        :param context: the host's own context of the app; by default the dashboard opens one.
        :raises RuntimeError: it is open already.
        """
        if self._services is not None:
            raise RuntimeError("The dashboard is open already.")
        async with AsyncExitStack() as stack:
            if context is None:
                context = await stack.enter_async_context(self._app.create(fixtures=False, **self._options))
            await anyio.to_thread.run_sync(compile_templates)
            async with anyio.create_task_group() as group:
                self._services = Services(context, AnswerCache(group), Jobs(group), self._title, self._hide_arguments)
                try:
                    yield
                finally:
                    self._services = None
                    group.cancel_scope.cancel()

    async def _open_services(self) -> Services:
        """
        :raises Unreachable: the storage can't be opened.
        """
        if self._services is None:
            await self._open_by_itself()
        if self._services is None:
            raise Unreachable("the dashboard is being closed")
        return self._services

    async def _open_by_itself(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise Unreachable("On trio, open it in the lifespan: async with dashboard.opened(context).") from None
        if self._opening is None or self._opening.done():
            self._started = loop.create_future()
            self._opening = loop.create_task(self._stay_open(self._started))
        try:
            await asyncio.wait_for(asyncio.shield(self._started), TIMEOUT)
        except (PyncetteException, OSError, TimeoutError) as e:
            raise Unreachable(str(e) or "it could not be opened in time") from e

    async def _stay_open(self, started: asyncio.Future[None]) -> None:
        """Runs in a separate task, because the task that opens a storage must close it."""
        try:
            async with self.opened():
                started.set_result(None)
                await asyncio.get_running_loop().create_future()  # until the lifespan or the event loop ends
        except asyncio.CancelledError:
            started.cancel()
            raise
        except Exception as e:
            if started.done():
                logger.exception("The dashboard was closed.")
            else:
                started.set_exception(e)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """The lifespan of a dashboard that is served on its own. It starts even without the storage, and its pages say
        so."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await send({"type": "lifespan.shutdown.complete"})


def _located(scope: Scope, prefix: str) -> Scope:
    """The scope with paths as our routes expect them: some hosts strip the prefix, or append a slash to each path."""
    root, path = prefix or scope.get("root_path", ""), scope["path"]
    if prefix and path != prefix and not path.startswith(f"{prefix}/"):
        path = prefix + path
    path = path.rstrip("/") or "/"
    if path == root.rstrip("/"):  # no redirect, as its URL would have the scheme that the proxy uses, not the browser's
        path += "/"
    return {**scope, "root_path": root, "path": path}


def _hardened(send: Send) -> Send:
    """Adds the security headers that every response has."""

    async def harden(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return harden
