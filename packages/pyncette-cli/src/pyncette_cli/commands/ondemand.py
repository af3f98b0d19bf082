"""Runs that are asked for outside the schedule, and next occurrences that are recomputed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from pyncette import BackfillState, BulkResult, PyncetteContext, Task
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status, as_usage
from pyncette_cli.options import dry_run_option, instances_argument, json_option, target_options, yes_option
from pyncette_cli.target import Target, find, find_all, with_context
from pyncette_cli.values import Moment, arguments, clean, iso, local

from .steering import refusals


def one_of(task: Task, instance: str | None) -> Task:
    """The task, if it is clear which of its instances is meant.

    :raises Failure: it has instances, and none is named.
    """
    if task.dynamic and instance is None:
        raise Failure(
            f"{task.name!r} has instances: name one of them.", Status.USAGE, f"pyncette list {task.name} lists them."
        )
    return task


def named(task: str, instance: str | None) -> str:
    """A task or an instance, as messages name it."""
    return f"{task!r}" if instance is None else f"{clean(instance)!r} of {task!r}"


@click.command("trigger")
@click.argument("task")
@instances_argument()
@click.option("--arg", "pairs", metavar="NAME=VALUE", multiple=True, help="An argument of this run only.")
@click.option("--args", "text", metavar="JSON", help="Arguments of this run only, as a JSON object.")
@json_option
@target_options
def trigger_command(
    task: str,
    instances: Sequence[str] | None,
    pairs: tuple[str, ...],
    text: str | None,
    as_json: bool,
    target: Target,
) -> int:
    """Execute TASK, or each of its INSTANCES, once, in addition to its schedule.

    Also works while it is paused or dead, and it stays so. With - as INSTANCES, names are read from standard input, one
    a line.

    \b
    Examples:
      pyncette trigger cleanup
      pyncette trigger report Ada Bob --arg draft=true
      pyncette trigger report - < names.txt
    """
    own = arguments(pairs, text)

    async def work(context: PyncetteContext) -> BulkResult:
        found = await find(context, task)
        if instances is None or not found.dynamic:
            return await _trigger_static(context, one_of(found, None), instances, own)
        with as_usage(), output.progress("Triggering", len(instances)) as advance:
            return await context.trigger_tasks(found, instances, advance, args=own)

    result = with_context(target, work)
    if as_json:
        names = (None,) if instances is None else [name for name, _ in result.runs]
        ids = [run_id for _, run_id in result.runs]
        output.print_lines(
            {"task": task, "instance": name, "run_id": run_id} for name, run_id in zip(names, ids, strict=True)
        )
    elif len(result.runs) == 1:
        ((name, run_id),) = result.runs
        what = named(task, None if instances is None else name)
        click.echo(f"{what} will be executed once, as run {run_id}.")
    else:
        click.echo(f"{len(result.runs):,} of {task!r} will be executed once.")
    return refusals(result)


async def _trigger_static(
    context: PyncetteContext, task: Task, instances: Sequence[str] | None, args: Mapping[str, Any]
) -> BulkResult:
    if instances is not None:
        raise Failure(f"{task.name!r} is a static task and has no instances.", Status.USAGE, "Name the task alone.")
    if await context.get_task(task) is None:
        raise Failure(
            f"{task.name!r} is not stored yet.",
            Status.NOT_FOUND,
            "It will be once an app that declares it has started.",
        )
    with as_usage():
        return BulkResult(done=1, runs=[(task.name, await context.trigger_task(task, None, args))])


@click.command("backfill")
@click.argument("task")
@click.argument("instance", required=False)
@click.option("--from", "start", type=Moment(), metavar="WHEN", help="The first moment.")
@click.option("--until", "end", type=Moment(), metavar="WHEN", help="The last moment; now by default.")
@click.option("--id", "name", metavar="NAME", help="A name: a second backfill with this name is ignored.")
@click.option("--list", "shows", is_flag=True, help="List unfinished backfills.")
@click.option("--cancel", metavar="NAME", help="Cancel this backfill.")
@dry_run_option
@yes_option
@json_option
@target_options
def backfill_command(
    task: str,
    instance: str | None,
    start: datetime | None,
    end: datetime | None,
    name: str | None,
    shows: bool,
    cancel: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    target: Target,
) -> int:
    """Execute the moments that the schedule of TASK, or of an INSTANCE of it, has in a past range.

    They are executed by the workers, oldest first, one after another, and what the schedule itself wants comes first.

    \b
    Examples:
      pyncette backfill report Ada --from 2027-01-01 --until 2027-01-31 --dry-run
      pyncette backfill cleanup --from 2027-01-01 --id january --yes
      pyncette backfill report Ada --list
      pyncette backfill report Ada --cancel january
    """
    if sum((start is not None, shows, cancel is not None)) != 1:
        raise click.UsageError("Give one of these: --from, --list, --cancel.")

    async def work(context: PyncetteContext) -> int:
        found = one_of(await find(context, task), instance)
        if cancel is not None:
            return await _cancel(context, found, instance, cancel)
        if start is None:
            _print_fills(await context.list_backfills(found, instance), as_json)
            return Status.OK
        until = datetime.now().astimezone() if end is None else end
        with as_usage():
            fill = await context.backfill_task(found, instance, start, until, backfill_id=name, dry_run=True)
            if fill.total and not dry_run:
                output.confirm(f"Execute {_moments(fill)} of {named(task, instance)}?", yes=yes)
                fill = await context.backfill_task(found, instance, start, until, backfill_id=name, confirm=True)
        _say(fill, named(task, instance), as_json, dry_run)
        return Status.OK

    return with_context(target, work)


async def _cancel(context: PyncetteContext, task: Task, instance: str | None, name: str) -> int:
    what = named(task.name, instance)
    if not await context.cancel_backfill(task, instance, name):
        raise Failure(f"{what} has no backfill {clean(name)!r}.", Status.NOT_FOUND, "--list lists those it has.")
    click.echo(f"No further run of the backfill {clean(name)!r} of {what} will start.")
    return Status.OK


def _say(fill: BackfillState, what: str, as_json: bool, dry_run: bool) -> None:
    """What will be executed, or would be."""
    if as_json:
        output.print_json({**fill_fields(fill), "id": None if dry_run else fill.id, "dry_run": dry_run})
    elif not fill.total:
        click.echo(f"No moment of {what} is in this range of the past: there is nothing to execute.")
    elif dry_run:
        click.echo(f"{_moments(fill)} of {what} would be executed.")
    else:
        click.echo(f"{_moments(fill)} of {what} will be executed, as backfill {fill.id}.")


def _moments(fill: BackfillState) -> str:
    first = "" if fill.next_at is None else local(fill.next_at)
    last = "" if fill.last_at is None else local(fill.last_at)
    if fill.total == 1:
        return f"1 moment ({first})"
    number = f"{fill.total:,}" if fill.exact else f"more than {fill.total - 1:,}"
    return f"{number} moments ({first} to {last})"


def _print_fills(fills: list[BackfillState], as_json: bool) -> None:
    if as_json:
        output.print_lines(map(fill_fields, fills))
    elif fills:
        rows = [
            (
                fill.id,
                f"{fill.done:,}/{fill.total:,}{'' if fill.exact else '+'}",
                None if fill.next_at is None else local(fill.next_at),
                None if fill.last_at is None else local(fill.last_at),
            )
            for fill in fills
        ]
        output.print_table(["BACKFILL", "DONE", "NEXT", "LAST"], rows, right=["DONE"])
    else:
        output.note("None.")


def fill_fields(fill: BackfillState) -> dict[str, Any]:
    """What ``--json`` prints of a backfill."""
    return {
        "id": fill.id,
        "next_at": iso(fill.next_at),
        "last_at": iso(fill.last_at),
        "total": fill.total,
        "exact": fill.exact,
        "done": fill.done,
    }


@click.command("recompute")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@dry_run_option
@json_option
@target_options
def recompute_command(tasks: tuple[str, ...], dry_run: bool, as_json: bool, target: Target) -> None:
    """Move next occurrences that are no longer on the schedule, because the rules of a timezone have changed.

    Of each TASK, or of all tasks, each to the nearest occurrence that it has. For after an update of tzdata, here and
    where the workers run.
    """

    async def work(context: PyncetteContext) -> None:
        for task in await find_all(context, tasks):
            name = task.name
            total = (await context.count_tasks(task)).value if task.dynamic else 1
            with output.progress(name, total) as advance:
                moved = await context.recompute(task, advance, dry_run=dry_run)
            if as_json:
                output.print_json({"task": name, "moved": moved, "dry_run": dry_run})
            else:
                click.echo(f"{name}: {moved:,} {'would be moved' if dry_run else 'moved'}.")

    with_context(target, work)
