"""Tasks: paused and resumed."""

from __future__ import annotations

import click

from pyncette import PyncetteContext
from pyncette_cli.failures import Failure, Status, one_line
from pyncette_cli.options import target_options
from pyncette_cli.target import chosen, find, with_context


@click.command("pause")
@click.argument("task")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is shown to everybody who looks.")
@target_options
def pause_command(task: str, reason: str, store: str | None, app_path: str | None, settings: tuple[str, ...]) -> None:
    """Pause TASK with all its instances. What is under way ends as usual."""

    async def work(context: PyncetteContext) -> None:
        found = await find(context, task)
        try:
            await context.pause_task(found, reason=reason)
        except ValueError as e:
            raise Failure(one_line(e), Status.USAGE) from e

    with_context(chosen(store, app_path, settings), work)
    click.echo(f"Paused {task!r}.")


@click.command("resume")
@click.argument("task")
@click.option("--catch-up", is_flag=True, help="Treat what came due meanwhile as missed, instead of skipping it.")
@target_options
def resume_command(
    task: str, catch_up: bool, store: str | None, app_path: str | None, settings: tuple[str, ...]
) -> None:
    """Let TASK go on."""

    async def work(context: PyncetteContext) -> None:
        found = await find(context, task)
        try:
            await context.resume_task(found, catch_up=catch_up)
        except ValueError as e:
            raise Failure(one_line(e), Status.USAGE) from e

    with_context(chosen(store, app_path, settings), work)
    click.echo(f"Resumed {task!r}.")
