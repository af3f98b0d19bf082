"""An HTTP endpoint that reports whether the app is healthy."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio.to_thread
from anyio.from_thread import BlockingPortal

from ._app.app import Pyncette
from ._app.running import PyncetteContext
from ._concurrency.background import unwrapped
from ._validation.checks import check_port
from .errors import PyncetteException

logger: logging.Logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.1
"""Seconds that closing the server takes at most."""

ANSWER_TIMEOUT = 5.0
"""Seconds within which the event loop has to answer. A loop that a task blocks is not healthy."""

LOOP_GRACE = 0.5
"""Seconds more, so that a handler that takes too long is not taken for a loop that does."""

REQUEST_TIMEOUT = 10.0
"""Seconds that a connection may take in all, however slowly it sends."""

MAX_CONNECTIONS = 128
"""How many at a time. One more replaces the oldest, so that idle ones can't keep a probe out."""

LOOPBACK = "127.0.0.1"

Handler = Callable[[PyncetteContext], Awaitable[bool]]


async def default_healthcheck(app_context: PyncetteContext) -> bool:
    """Healthy when the context has no :attr:`~pyncette.PyncetteContext.problems`."""
    return not app_context.problems


def use_healthcheck_server(
    app: Pyncette,
    port: int = 8080,
    bind_address: str | None = None,
    healthcheck_handler: Handler = default_healthcheck,
) -> None:
    """Serve the app's health by HTTP for as long as its context is open.

    ``GET`` on any path is answered with 200 or 500, any other verb with 405. What keeps the app from being healthy is
    in the answer, and logged as a warning when it begins. Of an error of ``healthcheck_handler``, which may contain
    what is not for everybody, only the log has the text.

    :param port: 0 chooses a free one, which is logged.
    :param bind_address: 127.0.0.1 by default: probes come from this machine. Where they come from elsewhere, as in a
        container, ``"0.0.0.0"`` is all addresses of IPv4, ``"::"`` those of IPv6 too.
    :param healthcheck_handler: coroutine function that checks whether the app is healthy. Raising is not.
    :raises ValueError: the port is not valid. That it is taken is a :class:`~pyncette.errors.PyncetteException` when
        the context is opened.
    """
    check_port("port", port)
    address = LOOPBACK if bind_address is None else bind_address

    async def healthcheck(app_context: PyncetteContext) -> AsyncIterator[_Server]:
        with _listen(address, port) as server:
            async with unwrapped(BlockingPortal()) as portal:
                server.problem = _Query(portal, healthcheck_handler, app_context).answer
                thread = threading.Thread(target=server.serve_forever, args=[POLL_INTERVAL], name=__name__)
                thread.start()
                logger.info("The health check listens on %s, port %d.", address, server.server_port)
                try:
                    yield server
                finally:
                    with anyio.CancelScope(shield=True):  # asyncio's own cancellation ignores it
                        try:
                            await portal.stop(cancel_remaining=True)
                        finally:
                            try:
                                await anyio.to_thread.run_sync(server.shutdown)
                            finally:
                                thread.join()

    app.use_fixture("_healthcheck", healthcheck)


class _Query:
    """Calls the handler on the event loop, for the server's threads. Concurrent requests share a result."""

    def __init__(self, portal: BlockingPortal, handler: Handler, app_context: PyncetteContext) -> None:
        self._portal = portal
        self._handler = handler
        self._app_context = app_context
        self._lock = threading.Lock()
        self._pending: Future[str] | None = None
        self._reported = ""

    def answer(self) -> str:
        """A description of what keeps the app from being healthy; empty if nothing does."""
        with self._lock:
            answer = self._pending
            if answer is None or answer.done():
                answer = self._pending = Future()
                # A separate thread, because passing the question to the event loop may block without a limit.
                arguments = [self._portal, self._handler, self._app_context, answer]
                threading.Thread(target=_ask, args=arguments, name=__name__, daemon=True).start()
        try:
            problem = logged = answer.result(timeout=ANSWER_TIMEOUT + LOOP_GRACE)
        except TimeoutError:
            problem = logged = f"the event loop has not answered for {ANSWER_TIMEOUT:g} s"
        except (Exception, CancelledError) as e:  # noqa: BLE001 - any failure of the handler is unhealthy
            problem, logged = f"the check failed with {type(e).__name__}", f"{type(e).__name__}: {e}"
        self._log_change(logged)
        return problem

    def _log_change(self, problem: str) -> None:
        with self._lock:
            before, self._reported = self._reported, problem
        if problem and not before:
            logger.warning("The health check fails: %s.", problem)
        elif before and not problem:
            logger.info("The health check succeeds again.")


def _ask(portal: BlockingPortal, handler: Handler, app_context: PyncetteContext, answer: Future[str]) -> None:
    """What keeps the app from being healthy, empty if nothing does."""

    async def ask() -> str:
        with anyio.move_on_after(ANSWER_TIMEOUT):
            healthy = await handler(app_context)
            return "" if healthy else "; ".join(app_context.problems) or "the handler says so"
        return f"the handler has not answered for {ANSWER_TIMEOUT:g} s"

    try:
        answer.set_result(portal.call(ask))
    except BaseException as e:  # noqa: BLE001 - passed to the waiting thread
        answer.set_exception(e)


def _listen(address: str, port: int) -> _Server:
    try:
        return _Server(address, port)
    except OSError as e:
        raise PyncetteException(
            f"The health check can't listen on port {port} of {address or 'all addresses'}: {e.strerror}. Choose "
            "another one, use_healthcheck_server(app, port=…, bind_address=…)."
        ) from e


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name != "nt"  # on Windows, it would let two servers share a port
    request_queue_size = 256

    problem: Callable[[], str]

    def __init__(self, address: str, port: int) -> None:
        self._both_families = address in ("", "::") and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if self._both_families or ":" in address else socket.AF_INET
        self._open: dict[socket.socket, float] = {}  # when each was opened, oldest first
        self._lock = threading.Lock()
        super().__init__((address, port), _Request)

    def server_bind(self) -> None:
        if self._both_families:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                _cut(self._open, next(iter(self._open)))
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close connections that have taken too long. Called several times a second."""
        with self._lock:
            oldest = time.monotonic() - REQUEST_TIMEOUT
            for request in [request for request, since in self._open.items() if since < oldest]:
                _cut(self._open, request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for request in list(self._open):
                _cut(self._open, request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("A request of the health check failed: %r", sys.exception())  # for example, a closed connection


def _cut(connections: dict[socket.socket, float], request: socket.socket) -> None:
    """The thread that serves it ends, and closes it."""
    del connections[request]
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    server_version = "pyncette"
    sys_version = ""
    timeout = REQUEST_TIMEOUT

    def do_GET(self) -> None:
        problem = self.server.problem()
        body = f"Not OK: {problem}".encode() if problem else b"OK"
        self.send_response(HTTPStatus.INTERNAL_SERVER_ERROR if problem else HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Respond to an unknown verb with "not allowed" instead of "not implemented"."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, None
        super().send_error(code, message, explain)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the inherited name
        logger.debug(format, *args)
