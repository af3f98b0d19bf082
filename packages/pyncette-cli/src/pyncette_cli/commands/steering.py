"""Tasks and instances: paused, resumed, retried, executed at once."""

from __future__ import annotations

import click

from pyncette import BulkResult, PyncetteContext, Task
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status, as_usage, one_line
from pyncette_cli.options import json_option, target_options, yes_option
from pyncette_cli.target import chosen, find, with_context
from pyncette_cli.values import arguments, clean


@click.command("pause")
@click.argument("task")
@click.argument("instances", nargs=-1)
@click.option("--reason", default="", metavar="TEXT", help="Why; it is shown to everybody who looks.")
@target_options
def pause_command(
    task: str,
    instances: tuple[str, ...],
    reason: str,
    store: str | None,
    app_path: str | None,
    settings: tuple[str, ...],
) -> int:
    """Pause TASK with all its instances, or INSTANCES of it alone. What is under way ends as usual."""

    async def work(context: PyncetteContext) -> BulkResult | None:
        found = await find(context, task)
        with as_usage():
            if instances:
                return await context.pause_tasks(found, instances, reason=reason)
            await context.pause_task(found, reason=reason)
        return None

    return _say("Paused", task, with_context(chosen(store, app_path, settings), work))


@click.command("resume")
@click.argument("task")
@click.argument("instances", nargs=-1)
@click.option("--catch-up", is_flag=True, help="Treat what came due meanwhile as missed, instead of skipping it.")
@target_options
def resume_command(
    task: str,
    instances: tuple[str, ...],
    catch_up: bool,
    store: str | None,
    app_path: str | None,
    settings: tuple[str, ...],
) -> int:
    """Let TASK go on, or INSTANCES that were paused by themselves."""

    async def work(context: PyncetteContext) -> BulkResult | None:
        found = await find(context, task)
        with as_usage():
            if instances:
                return await context.resume_tasks(found, instances, catch_up=catch_up)
            await context.resume_task(found, catch_up=catch_up)
        return None

    return _say("Resumed", task, with_context(chosen(store, app_path, settings), work))


def _say(done: str, task: str, result: BulkResult | None) -> int:
    """What became of a task, or of how many of its instances; the exit status."""
    if result is None:
        click.echo(f"{done} {task!r}.")
        return Status.OK
    click.echo(f"{done} {result.done:,} of {task!r}.")
    return refusals(result)


def refusals(result: BulkResult) -> int:
    """Says what was refused, and why; the exit status."""
    from pyncette.errors import TaskNotFoundException

    for name, error in result.refused[:20]:
        output.note(f"{clean(name)!r}: {one_line(error)}")
    if len(result.refused) > 20:
        output.note(f"... and {len(result.refused) - 20:,} more.")
    if not result.refused:
        return Status.OK
    missing = all(isinstance(error, TaskNotFoundException) for _, error in result.refused)
    return Status.NOT_FOUND if missing else Status.FAILED


@click.command("retry")
@click.argument("task")
@click.argument("instances", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All instances that are dead.")
@click.option("--dry-run", is_flag=True, help="Tell how many would be retried.")
@yes_option
@target_options
def retry_command(
    task: str,
    instances: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    yes: bool,
    store: str | None,
    app_path: str | None,
    settings: tuple[str, ...],
) -> int:
    """Give INSTANCES of TASK that are dead fresh attempts, or all of them; `pyncette dead` lists them."""
    if everything and instances:
        raise click.UsageError("Name instances, or give --all.")

    async def work(context: PyncetteContext) -> int:
        found = await find(context, task)
        if everything:
            return await _retry_all(context, found, dry_run, yes)
        if found.dynamic and not instances:
            raise click.UsageError("Name instances, or give --all.")
        if dry_run:
            raise click.UsageError("--dry-run goes with --all.")
        for name in instances or (None,):
            what = f"{task!r}" if name is None else f"{clean(name)!r} of {task!r}"
            with as_usage():
                dead = await context.retry_task(found, name)
            click.echo(f"{what} gets fresh attempts." if dead else f"{what} is not dead, and stays as it is.")
        return Status.OK

    return with_context(chosen(store, app_path, settings), work)


async def _retry_all(context: PyncetteContext, task: Task, dry_run: bool, yes: bool) -> int:
    with as_usage():
        count = await context.count_tasks(task, state="dead")
    number = f"{count.value:,}" if count.exact else f"about {count.value:,}"
    if dry_run or not count.value:
        click.echo(f"{number} of {task.name!r} are dead.")
        return Status.OK
    output.confirm(f"Retry {number} dead instances of {task.name!r}?", yes=yes)
    with output.progress("Retrying", count.value) as advance:
        result = await context.retry_dead(task, advance)
    click.echo(f"{result.done:,} of {task.name!r} get fresh attempts.")
    return refusals(result)


@click.command("trigger")
@click.argument("task")
@click.argument("instance", required=False)
@click.option("--arg", "pairs", metavar="NAME=VALUE", multiple=True, help="An argument of this run alone.")
@click.option("--args", "text", metavar="JSON", help="Arguments of this run alone, as a JSON object.")
@json_option
@target_options
def trigger_command(
    task: str,
    instance: str | None,
    pairs: tuple[str, ...],
    text: str | None,
    as_json: bool,
    store: str | None,
    app_path: str | None,
    settings: tuple[str, ...],
) -> None:
    """Execute TASK, or an INSTANCE of it, once, beside its schedule, which stays as it is.

    Also works while it is paused or dead, and it stays so.
    """
    own = arguments(pairs, text)

    async def work(context: PyncetteContext) -> str:
        found = await find(context, task)
        if found.dynamic and instance is None:
            raise Failure(f"{task!r} has instances: name one of them.", Status.USAGE, f"pyncette list {task}")
        with as_usage():
            return await context.trigger_task(found, instance, own)

    run_id = with_context(chosen(store, app_path, settings), work)
    if as_json:
        output.print_json({"task": task, "instance": instance, "run_id": run_id})
    else:
        what = f"{task!r}" if instance is None else f"{clean(instance)!r} of {task!r}"
        click.echo(f"{what} will be executed once, as run {run_id}.")
