"""The command ``pyncette dashboard``."""

from __future__ import annotations

import os
from typing import Any

import click

from pyncette_cli.failures import Failure, Status
from pyncette_cli.options import target_options
from pyncette_cli.target import Target

from .access import Access, Loopback, Passwords, Tokens, is_loopback


@click.command("dashboard")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="The port to listen on.")
@click.option("--root-path", default="", metavar="PATH", help="What a proxy puts before all paths, such as /pyncette.")
@click.option("--read-only", is_flag=True, help="Without a login: show everything, and change nothing.")
@click.option("--hide-arguments", is_flag=True, help="Show no arguments of instances.")
@click.option("--title", default="Pyncette", show_default=True, help="What stands on each page.")
@target_options
def dashboard_command(
    host: str,
    port: int,
    root_path: str,
    read_only: bool,
    hide_arguments: bool,
    title: str,
    target: Target,
) -> None:
    """Serve the dashboard on its own, until it is interrupted.

    Only browsers on this machine get in, unless there is a login:

    \b
      PYNCETTE_DASHBOARD_TOKEN       a token that lets its owner operate
      PYNCETTE_DASHBOARD_READ_TOKEN  a token that lets its owner look
      PYNCETTE_DASHBOARD_USERS       basic login: name:password:role, separated by spaces
      PYNCETTE_DASHBOARD_SECRET      signs cookies, where several processes serve one dashboard

    \b
    Examples:
      pyncette dashboard --store postgresql://user@host/database
      pyncette dashboard --app tasks:app --port 9000
    """
    from .serving import serve

    access = _access(read_only)
    if isinstance(access, Loopback) and not is_loopback(host):
        raise Failure(
            f"On {host}, the dashboard would be open to everyone who can reach it.",
            Status.USAGE,
            "Set PYNCETTE_DASHBOARD_TOKEN or PYNCETTE_DASHBOARD_USERS, or leave out --host.",
        )
    options: dict[str, Any] = {
        "access": access,
        "hide_arguments": hide_arguments,
        "title": title,
        "secret": os.environ.get("PYNCETTE_DASHBOARD_SECRET") or None,
    }
    serve(target, host, port, root_path.rstrip("/"), options)


def _access(read_only: bool) -> Access:
    """The access that the environment configures. Secrets are not options, which every process of the machine could
    read."""
    tokens = {
        os.environ.get(name, ""): role
        for name, role in (("PYNCETTE_DASHBOARD_READ_TOKEN", "read"), ("PYNCETTE_DASHBOARD_TOKEN", "operate"))
    }
    tokens.pop("", None)
    users = os.environ.get("PYNCETTE_DASHBOARD_USERS", "").split()
    try:
        if tokens and users:
            raise ValueError("Set either tokens or users, not both.")
        if tokens:
            return Tokens(tokens)
        if users:
            return Passwords(dict(map(_user, users)))
    except ValueError as e:
        raise Failure(str(e), Status.USAGE) from e
    return Loopback("read" if read_only else "operate")


def _user(text: str) -> tuple[str, tuple[str, str]]:
    """
    :raises ValueError: it does not have three parts. The message repeats none of them, as they are secret.
    """
    name, _, rest = text.partition(":")
    password, separator, role = rest.rpartition(":")
    if not name or not password or not separator:
        raise ValueError("PYNCETTE_DASHBOARD_USERS holds name:password:role, separated by spaces.")
    return name, (password, role)
