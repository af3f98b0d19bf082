"""Options that many commands share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

Command = Callable[..., Any]

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

kind_option = click.option(
    "--kind",
    type=click.Choice(["static", "dynamic", "partitioned"]),
    help="Of tasks of the same name, what one is or was.",
)


def _read_names(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Sequence[str] | None:
    if not value or ctx.resilient_parsing:  # that is when a shell asks how to complete the line
        return None
    names: list[str] = []
    for name in value:
        if name == "-":
            if sys.stdin.isatty():
                click.echo("Names, one a line; Ctrl-D ends them.", err=True)
            names += filter(None, map(_without_line_end, sys.stdin))
        else:
            names.append(name)
    return names


def _without_line_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def instances_argument(*, required: bool = False) -> Callable[[Command], Command]:
    """The parameter ``instances``: names; ``-`` stands for those on standard input, one a line.

    It is None if none were asked for, which may mean the whole task; and empty if there were none on standard input.
    """
    metavar = "INSTANCES..." if required else "[INSTANCES]..."
    return click.argument("instances", nargs=-1, required=required, metavar=metavar, callback=_read_names)


dry_run_option = click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")


def target_options(command: Command) -> Command:
    """Where the tasks are: the parameter ``target`` of the command."""

    @functools.wraps(command)
    def with_target(
        *args: Any, store: str | None, app_path: str | None, settings: tuple[str, ...], **kwargs: Any
    ) -> Any:
        from .target import chosen

        return command(*args, target=chosen(store, app_path, settings), **kwargs)

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
        with_target = option(with_target)
    return with_target
