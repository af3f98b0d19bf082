"""Instances: scheduled and removed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from pyncette import BulkResult, PyncetteContext, Scheduling, Task
from pyncette.errors import TaskExistsException
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status, as_usage, one_line
from pyncette_cli.options import instances_argument, json_option, target_options, yes_option
from pyncette_cli.target import Target, find, with_context
from pyncette_cli.values import Duration, Moment, arguments, clean, local

from .instances import state_fields

WORDS = {
    Scheduling.UPDATED: "Updated",
    Scheduling.REPLACED: "Replaced",
    Scheduling.KEPT: "Kept as it was:",
    Scheduling.UNDER_WAY: "Left alone, as its only occurrence is being executed:",
}


@click.command("schedule")
@click.argument("task")
@click.argument("instance")
@click.option("--cron", metavar="EXPRESSION", help='A cron expression, such as "30 2 * * *".')
@click.option("--timezone", metavar="ZONE", help="The time zone of --cron, such as Europe/Berlin; UTC by default.")
@click.option("--every", type=Duration(), metavar="DURATION", help="An interval, such as 5m or 1h30m.")
@click.option("--at", type=Moment(), metavar="WHEN", help="Once: an ISO date and time, or +90m.")
@click.option("--from", "start_at", type=Moment(), metavar="WHEN", help="No occurrence before this.")
@click.option("--until", "end_at", type=Moment(), metavar="WHEN", help="No occurrence after this.")
@click.option(
    "--max-runs", type=click.IntRange(min=1), metavar="N", help="The maximum number of occurrences to execute."
)
@click.option("--paused", is_flag=True, help="Keep it paused until it is resumed.")
@click.option("--arg", "pairs", metavar="NAME=VALUE", multiple=True, help="An argument; the value is JSON or text.")
@click.option("--args", "text", metavar="JSON", help="All arguments, as a JSON object.")
@click.option(
    "--if-exists",
    type=click.Choice(["update", "keep", "replace", "error"]),
    default="update",
    show_default=True,
    help="What to do if the instance exists.",
)
@json_option
@target_options
def schedule_command(
    task: str,
    instance: str,
    cron: str | None,
    timezone: str | None,
    every: timedelta | None,
    at: datetime | None,
    pairs: tuple[str, ...],
    text: str | None,
    if_exists: Any,
    as_json: bool,
    target: Target,
    **further: Any,
) -> None:
    """Schedule INSTANCE of TASK, or update it.

    Without --app, the defaults that the task declares in code do not apply.

    \b
    Examples:
      pyncette schedule report Ada --cron "0 8 * * *" --timezone Europe/London
      pyncette schedule report Bob --every 1h --arg user=7
      pyncette schedule remind tea --at +5m --arg text="the tea"
    """
    timing: dict[str, Any] = {"schedule": cron, "timezone": timezone, "interval": every, "execute_at": at}
    if sum(given is not None for given in (cron, every, at)) != 1:
        raise click.UsageError("Give one of these: --cron, --every, --at.")
    args = arguments(pairs, text)

    async def work(context: PyncetteContext) -> tuple[Task, dict[str, Any]]:
        template = await find(context, task)
        try:
            with as_usage():
                concrete = await context.schedule_task(
                    template, instance, if_exists=if_exists, args=args, **timing, **further
                )
        except TaskExistsException as e:
            hint = "--if-exists update, keep or replace says what becomes of it."
            raise Failure(f"{task!r} has an instance {instance!r} already.", hint=hint) from e
        state = await context.get_task(concrete)
        return concrete, {} if state is None else state_fields(state)

    _say(task, *with_context(target, work), as_json)


def _say(task: str, concrete: Task, fields: dict[str, Any], as_json: bool) -> None:
    """What became of an instance, and when it is due."""
    became = concrete.scheduling
    if as_json:
        output.print_json({"scheduling": None if became is None else became.value, **fields})
        return
    word = WORDS.get(became or Scheduling.CREATED, "Scheduled")
    when = fields.get("scheduled_at")
    then = f", next at {local(datetime.fromisoformat(when))}" if when else ""
    click.echo(f"{word} {clean(concrete.name)!r} of {task!r}{then}.")


@click.command("unschedule")
@click.argument("task")
@instances_argument(required=True)
@yes_option
@target_options
def unschedule_command(
    task: str,
    instances: Sequence[str],
    yes: bool,
    target: Target,
) -> int:
    """Remove INSTANCES of TASK. An execution under way loses its lease.

    With - as INSTANCES, names are read from standard input, one a line; --yes is needed then.
    """

    async def work(context: PyncetteContext) -> tuple[list[str], BulkResult]:
        template = await find(context, task)
        if not template.dynamic:
            raise Failure(
                f"{task!r} is a static task and has no instances.",
                Status.USAGE,
                "Remove it from the code; then `pyncette purge` removes what is stored.",
            )
        missing = [name for name in instances if await context.get_task(template, name) is None]
        there = [name for name in instances if name not in missing]
        if there:
            few = ", ".join(map(clean, there[:5])) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
            output.confirm(f"Remove {few} from {task!r}?", yes=yes)
        with output.progress("Removing", len(there)) as advance:
            return missing, await context.unschedule_tasks(template, there, advance)

    missing, result = with_context(target, work)
    output.note_some([f"{task!r} has no instance {clean(name)!r}." for name in missing])
    output.note_some([f"{clean(name)!r} was not removed: {one_line(error)}" for name, error in result.refused])
    click.echo(f"Removed {result.done:,} of {task!r}.")
    if result.refused:
        return Status.FAILED
    return Status.NOT_FOUND if missing else Status.OK
