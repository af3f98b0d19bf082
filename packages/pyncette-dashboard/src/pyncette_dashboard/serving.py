"""Serves the dashboard on its own."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import click
import uvicorn

from pyncette_cli.failures import Failure, Status
from pyncette_cli.target import Target

from .dashboard import Dashboard


def serve(target: Target, host: str, port: int, root_path: str, options: Mapping[str, Any]) -> None:
    """Serve the dashboard until it is interrupted."""
    source, storage = target.source()
    dashboard = Dashboard(source, root_path=root_path, **options, **storage)
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"The dashboard is at http://{shown}:{listening.getsockname()[1]}{root_path}/")
    config = uvicorn.Config(dashboard, log_level="warning", access_log=False, server_header=False, proxy_headers=False)
    with listening, suppress(KeyboardInterrupt):  # uvicorn raises it again once it has closed everything
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Bind the socket first, so that the address is announced only if it is available.

    :raises Failure: the address is not available.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as e:
        why = e.strerror or str(e)
        hint = "Choose another port with --port, or another address with --host."
        raise Failure(f"Can't listen on {host}, port {port}: {why}.", Status.USAGE, hint) from e
