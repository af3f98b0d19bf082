"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_state = {"debug": False}


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return _state["debug"]


def begin() -> None:
    """A command line is about to be read, perhaps not the first one of this process."""
    _state["debug"] = False


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    _state["debug"] = _state["debug"] or value


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    envvar="PYNCETTE_DEBUG",
    callback=_set_debug,
    help="Show the traceback of an error.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def target_options(command: F) -> F:
    """Where the tasks are: the parameters ``store``, ``app_path`` and ``settings`` of the command."""
    for option in (
        debug_option,
        click.option(
            "--option",
            "-o",
            "settings",
            metavar="NAME=VALUE",
            multiple=True,
            help="An option of the storage, such as postgres_table_name=jobs. May be repeated.",
        ),
        click.option("--app", "app_path", metavar="MODULE:NAME", help="The app, whose storage is used. [PYNCETTE_APP]"),
        click.option("--store", metavar="URL", help="The URL of the storage. [PYNCETTE_STORE]"),
    ):
        command = option(command)
    return command
