"""What has run: the log of runs, and what is dead and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import click

from pyncette import LoggedRun, PyncetteContext, TaskRun, TaskState
from pyncette.events import RunOutcome
from pyncette_cli import output
from pyncette_cli.failures import as_usage
from pyncette_cli.options import json_option, target_options
from pyncette_cli.target import Target, find, find_all, with_context
from pyncette_cli.values import Moment, iso, local, relative, span

from .instances import run_fields, state_fields


@click.command("dead")
@click.argument("task", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The maximum number for each task."
)
@json_option
@target_options
def dead_command(
    task: str | None,
    limit: int,
    as_json: bool,
    target: Target,
) -> None:
    """List dead instances of TASK, or of all tasks, and their last error. `pyncette retry` gives fresh attempts."""

    async def work(context: PyncetteContext) -> list[TaskState]:
        dead: list[TaskState] = []
        for each in await find_all(context, [] if task is None else [task]):
            if each.dynamic:
                dead += (await context.list_tasks(each, limit, state="dead")).tasks
            elif (state := await context.get_task(each)) is not None and state.state == "dead":
                dead.append(state)
        return dead

    dead = with_context(target, work)
    if as_json:
        output.print_lines(map(state_fields, dead))
    elif dead:
        now = datetime.now(UTC)
        output.print_table(["TASK", "INSTANCE", "WHEN", "ERROR"], [_dead_row(each, now) for each in dead])
    else:
        output.note("Nothing is dead.")


def _dead_row(state: TaskState, now: datetime) -> tuple[object, ...]:
    last = state.runs[-1] if state.runs else None
    when = (last.ended_at if last else None) or state.scheduled_at
    instance = state.task.name if state.task.parent_task is not None else ""
    return state.task.template.name, instance, relative(when, now), _why(last)


def _why(run: TaskRun | LoggedRun | None) -> str:
    if run is None:
        return ""
    return run.error or run.reason


@click.command("runs")
@click.argument("task", required=False)
@click.argument("instance", required=False)
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(get_args(RunOutcome)),
    multiple=True,
    help="Only runs with this outcome. May be repeated.",
)
@click.option("--since", type=Moment(), metavar="WHEN", help="Only runs that ended at WHEN or later.")
@click.option("--before", type=Moment(), metavar="WHEN", help="Only runs that ended before WHEN.")
@click.option("--containing", metavar="TEXT", help="Only runs whose reason, error or worker contains TEXT.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The maximum number to show.")
@json_option
@target_options
def runs_command(
    task: str | None,
    instance: str | None,
    outcomes: tuple[Any, ...],
    since: datetime | None,
    before: datetime | None,
    containing: str | None,
    limit: int,
    as_json: bool,
    target: Target,
) -> None:
    """List what has run, from the log of runs, newest first. Apps keep this log if they set history=...

    \b
    Examples:
      pyncette runs --outcome failed --since 2027-01-31
      pyncette runs report Ada
      pyncette runs --containing ConnectionError --json
    """

    async def work(context: PyncetteContext) -> list[LoggedRun]:
        found = None if task is None else await find(context, task)
        with as_usage():
            page = await context.runs(
                found,
                instance,
                outcomes=outcomes or None,
                since=since,
                before=before,
                containing=containing,
                limit=limit,
            )
        return page.runs

    runs = with_context(target, work)
    if as_json:
        output.print_lines(map(logged_fields, runs))
    elif runs:
        columns = ["ENDED", "TASK", "INSTANCE", "OUTCOME", "TOOK", "ATTEMPTS", "ERROR"]
        output.print_table(columns, map(_run_row, runs), right=["TOOK", "ATTEMPTS"])
    else:
        output.note("None. Only apps with history=... keep a log of runs.")


def _run_row(run: LoggedRun) -> tuple[object, ...]:
    took = "" if run.started_at is None else span(run.ended_at - run.started_at)
    return local(run.ended_at), run.task, run.instance, run.outcome, took, run.attempts, _why(run)


def logged_fields(run: LoggedRun) -> dict[str, Any]:
    """What ``--json`` prints of a line of the log."""
    return {
        "task": run.task,
        "instance": run.instance,
        **run_fields(run),
        "skips": [
            {
                "reason": skip.reason,
                "first": iso(skip.first),
                "last": iso(skip.last),
                "count": skip.count,
                "exact": skip.exact,
            }
            for skip in run.skips
        ],
    }
