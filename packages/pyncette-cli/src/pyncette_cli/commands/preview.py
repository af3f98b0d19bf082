"""The next occurrences of a schedule, with what changes of clocks do to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from pyncette import PyncetteContext, TaskState
from pyncette.schedule import upcoming
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status, one_line
from pyncette_cli.options import json_option, target_options
from pyncette_cli.target import Target, find, with_context
from pyncette_cli.values import Duration, Moment, iso, local, relative, span
from pyncette_cli.words import in_words

from .instances import schedule_words


@click.command("next")
@click.argument("expression", nargs=-1, metavar="[EXPRESSION]")
@click.option("--timezone", metavar="ZONE", help="The time zone of the expression; UTC by default.")
@click.option("--every", type=Duration(), metavar="DURATION", help="An interval instead of an expression.")
@click.option("--task", metavar="TASK", help="The stored schedule of this task instead.")
@click.option("--instance", metavar="NAME", help="The instance of --task.")
@click.option("--after", type=Moment(), metavar="WHEN", help="Later than this; now by default.")
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=5, show_default=True, help="How many.")
@json_option
@target_options
def next_command(
    expression: tuple[str, ...],
    timezone: str | None,
    every: timedelta | None,
    task: str | None,
    instance: str | None,
    after: datetime | None,
    count: int,
    as_json: bool,
    target: Target,
) -> None:
    """Preview the occurrences of a cron EXPRESSION, of an interval, or of a task.

    \b
    Examples:
      pyncette next "30 2 * * *" --timezone Europe/Berlin
      pyncette next "0 9 * * mon-fri" -n 10 --after 2027-01-01
      pyncette next --task report --instance Ada
    """
    if len(expression) > 1:
        raise Failure("The expression came in several parts.", Status.USAGE, 'Quote it: pyncette next "0 8 * * *"')
    cron = expression[0] if expression else None
    if sum(given is not None for given in (cron, every, task)) != 1:
        raise click.UsageError("Give one of these: a cron expression, --every, --task.")
    if task is not None:
        occurrences, title = _stored(task, instance, after, target)
    else:
        try:
            occurrences = upcoming(schedule=cron, interval=every, timezone=timezone, after=after)
        except (TypeError, ValueError) as e:
            raise Failure(one_line(e), Status.USAGE) from e
        title = in_words(cron) if cron else f"Every {span(every or timedelta())}"
    found = list(itertools.islice(occurrences, count))
    if as_json:
        notes = notes_on(found)
        output.print_lines(
            {"at": iso(each), "local": each.isoformat(), "note": note or None}
            for each, note in zip(found, notes, strict=True)
        )
        return
    if title:
        click.echo(title)
    if not found:
        output.note("It has no occurrence any more.")
        return
    _print(found)


def _stored(
    task: str,
    instance: str | None,
    after: datetime | None,
    target: Target,
) -> tuple[Iterator[datetime], str]:
    async def work(context: PyncetteContext) -> tuple[Iterator[datetime], str]:
        found = await find(context, task)
        if found.dynamic and instance is None:
            raise click.UsageError(f"{task!r} has instances: name one with --instance.")
        state = await context.get_task(found, instance)
        if state is None:
            raise Failure(f"{task!r} has no instance {instance!r}.", Status.NOT_FOUND)
        one = state.task
        first = state.scheduled_at
        start = first if after is None else max(first, after.astimezone(UTC))
        later = one.upcoming(start)
        occurrences = itertools.chain([first], later) if start == first else later
        return occurrences, f"{one.name}: {schedule_words(one)}{_held_up(state)}"

    return with_context(target, work)


def _held_up(state: TaskState) -> str:
    """Why none of its occurrences is executed for now; a second line, or nothing."""
    if state.state == "paused":
        return "\nPaused: nothing is executed until it is resumed."
    return "\nDead: nothing is executed until it is retried or rescheduled." if state.state == "dead" else ""


def _print(found: list[datetime]) -> None:
    now = datetime.now(UTC)
    same_zone = all(each.utcoffset() == each.astimezone().utcoffset() for each in found)
    columns = ["NEXT", "ZONE", *([] if same_zone else ["HERE"]), "WHEN", "NOTE"]
    notes = notes_on(found)
    if not any(notes):
        columns.pop()
    rows = []
    for each, note in zip(found, notes, strict=True):
        here = [] if same_zone else [local(each)]
        rows.append([f"{each:%a %Y-%m-%d %H:%M:%S}", f"{each:%Z}", *here, relative(each, now), note][: len(columns)])
    output.print_table(columns, rows)


def notes_on(found: list[datetime]) -> list[str]:
    """What changes of clocks do to each of these occurrences."""
    return [_note(before, each) for before, each in zip([None, *found], found, strict=False)]


def _note(before: datetime | None, at: datetime) -> str:
    just_before = (at.astimezone(UTC) - timedelta(microseconds=1)).astimezone(at.tzinfo)
    shift = _offset(at) - _offset(just_before)
    if shift > timedelta(0):
        wall = at.replace(tzinfo=None) - shift
        return f"clocks go forward here, {wall:%H:%M} to {at:%H:%M}"
    if _offset(at.replace(fold=0)) > _offset(at.replace(fold=1)):
        return f"{at:%H:%M} comes twice; this is the {'second' if at.fold else 'first'}"
    change = timedelta(0) if before is None else _offset(at) - _offset(before)
    if change:
        return f"clocks went {'forward' if change > timedelta(0) else 'back'} {span(change)} since the one before"
    return ""


def _offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta(0)
