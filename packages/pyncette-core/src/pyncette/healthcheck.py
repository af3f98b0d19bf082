"""An HTTP endpoint that tells whether the app is at work."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio.to_thread
from anyio.from_thread import BlockingPortal

from ._app.app import Pyncette
from ._app.running import PyncetteContext
from ._concurrency.background import unwrapped
from ._schedules.moments import to_datetime
from ._validation.checks import check_port
from .errors import PyncetteException

logger: logging.Logger = logging.getLogger(__name__)

POLL_INTERVAL = 0.1
"""Seconds that closing the server takes at most."""

ANSWER_TIMEOUT = 5.0
"""Seconds within which the event loop has to answer. A loop that a task blocks is not healthy."""

Handler = Callable[[PyncetteContext], Awaitable[bool]]


async def default_healthcheck(app_context: PyncetteContext) -> bool:
    """Healthy when the last tick is younger than two poll intervals."""
    last_tick = app_context.last_tick
    return last_tick is not None and to_datetime(app_context.clock.now()) - last_tick < 2 * app_context.poll_interval


def use_healthcheck_server(
    app: Pyncette,
    port: int = 8080,
    bind_address: str | None = None,
    healthcheck_handler: Handler = default_healthcheck,
) -> None:
    """Serve the app's health by HTTP for as long as its context is open.

    ``GET`` on any path is answered with 200 or 500, any other verb with 405.

    :param port: 0 chooses a free one, which is logged.
    :param bind_address: all addresses by default.
    :param healthcheck_handler: coroutine function that tells whether the app is healthy. Raising is not.
    :raises ValueError: the port is not valid. That it is taken is a :class:`~pyncette.errors.PyncetteException` when
        the context is opened.
    """
    check_port("port", port)

    async def healthcheck(app_context: PyncetteContext) -> AsyncIterator[_Server]:
        with _listen(bind_address, port) as server:
            async with unwrapped(BlockingPortal()) as portal:
                server.is_healthy = partial(_is_healthy, portal, healthcheck_handler, app_context)
                thread = threading.Thread(target=server.serve_forever, args=[POLL_INTERVAL], name=__name__)
                thread.start()
                logger.info("The health check listens on port %d.", server.server_port)
                try:
                    yield server
                finally:
                    with anyio.CancelScope(shield=True):
                        await portal.stop(cancel_remaining=True)
                        await anyio.to_thread.run_sync(server.shutdown)
                        thread.join()

    app.use_fixture("_healthcheck", healthcheck)


def _is_healthy(portal: BlockingPortal, handler: Handler, app_context: PyncetteContext) -> bool:
    """Ask the handler, on the event loop, from a thread of the server."""
    answer: Future[bool] = Future()
    # Handing the question over waits for the event loop, without a limit: a thread of its own does that.
    threading.Thread(target=_ask, args=[portal, handler, app_context, answer], name=__name__, daemon=True).start()
    try:
        return answer.result(timeout=ANSWER_TIMEOUT)
    except (Exception, CancelledError) as e:  # noqa: BLE001 - whatever keeps the handler from answering
        logger.warning("The health check failed: %s: %s", type(e).__name__, e)
        return False


def _ask(portal: BlockingPortal, handler: Handler, app_context: PyncetteContext, answer: Future[bool]) -> None:
    async def ask() -> bool:
        with anyio.fail_after(ANSWER_TIMEOUT):
            return bool(await handler(app_context))

    try:
        answer.set_result(portal.call(ask))
    except BaseException as e:  # noqa: BLE001 - it is for the thread that waits
        answer.set_exception(e)


def _listen(bind_address: str | None, port: int) -> _Server:
    try:
        return _Server(bind_address, port)
    except OSError as e:
        where = f"port {port} of {bind_address or 'all addresses'}"
        raise PyncetteException(
            f"The health check can't listen on {where}: {e.strerror}. Choose another one, "
            "use_healthcheck_server(app, port=…, bind_address=…)."
        ) from e


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name != "nt"  # there it would let two servers share a port

    is_healthy: Callable[[], bool]

    def __init__(self, bind_address: str | None, port: int) -> None:
        both = bind_address is None and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both or ":" in (bind_address or "") else socket.AF_INET
        self._both_families = both
        super().__init__((bind_address or "", port), _Request)

    def server_bind(self) -> None:
        if self._both_families:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Request(BaseHTTPRequestHandler):
    server: _Server
    server_version = "pyncette"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        healthy = self.server.is_healthy()
        body = b"OK" if healthy else b"Not OK"
        self.send_response(HTTPStatus.OK if healthy else HTTPStatus.INTERNAL_SERVER_ERROR)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """As inherited; a verb that there is no method for is not allowed here, rather than not implemented."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, None
        super().send_error(code, message, explain)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the inherited name
        logger.debug(format, *args)
