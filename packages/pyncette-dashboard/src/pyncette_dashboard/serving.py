"""Serves the dashboard alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from pyncette_cli.target import Target

from .dashboard import Dashboard


def serve(target: Target, host: str, port: int, root_path: str, options: Mapping[str, Any]) -> None:
    """Until it is interrupted."""
    source, storage = target.source()
    dashboard = Dashboard(source, **options, **storage)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"The dashboard is at http://{shown}:{port}{root_path}/")
    uvicorn.run(
        _below(root_path, dashboard) if root_path else dashboard,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )


def _below(prefix: str, app: ASGIApp) -> ASGIApp:
    """The application below a prefix, whether or not the proxy leaves that in the path."""

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            inside = path if path == prefix or path.startswith(f"{prefix}/") else prefix + path
            scope = {**scope, "root_path": prefix, "path": inside}
        await app(scope, receive, send)

    return below
