"""Serves the dashboard alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import uvicorn

from pyncette_cli.target import Target

from .dashboard import Dashboard


def serve(target: Target, host: str, port: int, root_path: str, options: Mapping[str, Any]) -> None:
    """Until it is interrupted."""
    source, storage = target.source()
    dashboard = Dashboard(source, root_path=root_path, **options, **storage)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"The dashboard is at http://{shown}:{port}{root_path}/")
    uvicorn.run(
        dashboard,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
