"""Instances: listed, shown, counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from pyncette import Count, LoggedRun, PyncetteContext, Task, TaskRun, TaskState
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status
from pyncette_cli.options import json_option, kind_option, target_options
from pyncette_cli.target import Target, find, find_all, with_context
from pyncette_cli.values import Moment, iso, local, relative, span

STATES = ("dead", "paused", "completed", "unreadable")
PAGE = 1000

state_option = click.option("--state", type=click.Choice(STATES), help="Only those in this state.")


@click.command("list")
@click.argument("task")
@kind_option
@state_option
@click.option("--prefix", default="", metavar="TEXT", help="Only those whose name starts with TEXT.")
@click.option("--due-before", type=Moment(), metavar="WHEN", help="Only what is due before WHEN, earliest first.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The maximum number to show.")
@click.option("--all", "everything", is_flag=True, help="Show all of them.")
@json_option
@target_options
def list_command(
    task: str,
    kind: Any,
    state: Any,
    prefix: str,
    due_before: datetime | None,
    limit: int,
    everything: bool,
    as_json: bool,
    target: Target,
) -> None:
    """List the instances of TASK.

    \b
    Examples:
      pyncette list report --state dead
      pyncette list report --due-before +1h
      pyncette list report --all --json | jq .args
    """
    if (prefix and (state or due_before)) or (state and due_before):
        raise click.UsageError("--state, --prefix and --due-before exclude each other: give one of them.")

    async def work(context: PyncetteContext) -> None:
        template = await find(context, task, kind)
        if not template.dynamic:
            raise Failure(
                f"{task!r} is a static task and has no instances.", Status.USAGE, f"Write pyncette show {task}"
            )
        filters = {"state": state, "prefix": prefix, "due_before": due_before}
        found = pages(context, template, None if everything else limit, filters)
        await _print_pages(found, as_json)

    with_context(target, work)


async def pages(
    context: PyncetteContext, template: Task, limit: int | None, filters: dict[str, Any]
) -> AsyncIterator[tuple[list[TaskState], bool]]:
    """Page after page, each with whether there are more instances after the last one that is wanted."""
    token, left = None, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(left, PAGE)
        page = await context.list_tasks(template, size, token, **filters)
        token = page.continuation_token
        left = None if left is None else left - len(page.tasks)
        yield page.tasks, left == 0 and token is not None
        if token is None:
            return


async def _print_pages(pages: AsyncIterator[tuple[list[TaskState], bool]], as_json: bool) -> None:
    """JSON is printed as it comes, a table when all of it is known, as its columns are as wide as they have to be."""
    states: list[TaskState] = []
    more = False
    async for page, follows in pages:
        more = follows
        if as_json:
            output.print_lines(map(state_fields, page))
        else:
            states += page
    if as_json:
        return
    if states:
        _print_states(states)
    else:
        output.note("None.")
    if more:
        output.note("There are more: --limit or --all shows them.")


def _print_states(states: Sequence[TaskState]) -> None:
    now = datetime.now(UTC)
    columns: list[tuple[str, Callable[[TaskState], object]]] = [
        ("INSTANCE", lambda each: each.task.name),
        ("STATE", lambda each: each.state),
        ("NEXT", lambda each: local(next_moment(each)) if will_start(each) else "-"),
        ("WHEN", lambda each: relative(next_moment(each), now) if will_start(each) else "-"),
        ("SCHEDULE", lambda each: schedule_words(each.task)),
    ]
    output.print_table([name for name, _ in columns], [[value(each) for _, value in columns] for each in states])


def will_start(state: TaskState) -> bool:
    """Whether it starts by itself: what is paused or dead keeps its occurrence, but waits for an operator."""
    return state.state not in ("paused", "dead", "completed")


def next_moment(state: TaskState) -> datetime:
    """When its next attempt may begin, or else its occurrence."""
    return state.next_attempt_at or state.scheduled_at


def schedule_words(task: Task) -> str:
    """The schedule, as it was given."""
    if task.schedule is not None:
        return task.schedule + (f" ({task.timezone})" if task.timezone else "")
    if task.interval is not None:
        return f"every {span(task.interval)}"
    return "once" if task.execute_at is not None else ""


def state_fields(state: TaskState) -> dict[str, Any]:
    """What ``--json`` prints of an instance; fields may be added, and stay as they are."""
    task = state.task
    return {
        "task": task.template.name,
        "instance": task.name if task.parent_task is not None else None,
        "state": state.state,
        "scheduled_at": iso(state.scheduled_at),
        "next_attempt_at": iso(state.next_attempt_at),
        "attempt": state.attempt,
        "locked_until": iso(state.locked_until),
        "locked_by": state.locked_by,
        "paused_reason": state.paused_reason,
        **schedule_fields(task),
        "args": task.extra_args,
        "runs": list(map(run_fields, state.runs)),
        "totals": dict(state.totals),
        "triggered": state.triggered,
    }


def schedule_fields(task: Task) -> dict[str, Any]:
    """A schedule as JSON; an interval is a number of seconds."""
    return {
        "schedule": task.schedule,
        "timezone": task.timezone,
        "interval": None if task.interval is None else task.interval.total_seconds(),
        "execute_at": iso(task.execute_at),
        "start_at": iso(task.start_at),
        "end_at": iso(task.end_at),
        "max_runs": task.max_runs,
    }


def run_fields(run: LoggedRun | TaskRun) -> dict[str, Any]:
    """What ``--json`` prints of a run, wherever it appears."""
    return {
        "outcome": run.outcome,
        "scheduled_at": iso(run.scheduled_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "attempts": run.attempts,
        "reason": run.reason,
        "error": run.error,
        "worker": run.worker,
        "trigger": run.trigger,
        "run_id": run.run_id,
    }


@click.command("show")
@click.argument("task")
@click.argument("instance", required=False)
@json_option
@target_options
def show_command(
    task: str,
    instance: str | None,
    as_json: bool,
    target: Target,
) -> None:
    """Show one INSTANCE of TASK, or the static task TASK."""

    async def work(context: PyncetteContext) -> TaskState:
        found = await find(context, task)
        if found.dynamic and instance is None:
            raise Failure(f"{task!r} has instances: name one of them.", Status.USAGE, f"pyncette list {task}")
        if not found.dynamic and instance is not None:
            raise Failure(f"{task!r} is a static task and has no instances.", Status.USAGE, f"pyncette show {task}")
        state = await context.get_task(found, instance)
        if state is None:
            what = "it is not stored" if instance is None else f"it has no instance {instance!r}"
            hint = "It is stored once an app that declares it starts." if instance is None else ""
            raise Failure(f"There is nothing to show of {task!r}: {what}.", Status.NOT_FOUND, hint)
        return state

    state = with_context(target, work)
    if as_json:
        output.print_json(state_fields(state))
    else:
        output.print_fields(_details(state))
        _print_runs(state)


def _details(state: TaskState) -> list[tuple[str, object]]:
    now = datetime.now(UTC)
    task = state.task

    def moment(value: datetime | None) -> str | None:
        return None if value is None else f"{local(value)} ({relative(value, now)})"

    zone = f"{state.scheduled_at:%Y-%m-%d %H:%M:%S %Z}"
    return [
        ("Task", task.template.name),
        ("Instance", task.name if task.parent_task is not None else None),
        ("State", state.state),
        ("Paused because", state.paused_reason),
        ("Occurrence", moment(state.scheduled_at)),
        ("In its zone", zone if task.timezone else None),
        ("Next attempt", moment(state.next_attempt_at)),
        ("Attempts", state.attempt or None),
        ("Executed by", state.locked_by),
        ("Lease until", moment(state.locked_until)),
        ("Schedule", schedule_words(task)),
        ("From", moment(task.start_at)),
        ("To", moment(task.end_at)),
        ("Runs at most", task.max_runs),
        ("Manual runs", f"{state.triggered} to come" if state.triggered else None),
        ("Totals", ", ".join(f"{count:,} {what}" for what, count in state.totals.items())),
        ("Arguments", json.dumps(task.extra_args, ensure_ascii=False) if task.extra_args else None),
    ]


def _print_runs(state: TaskState) -> None:
    if not state.runs:
        return
    click.echo("\nRecent runs")
    rows = []
    for run in reversed(state.runs):
        took = "" if run.started_at is None or run.ended_at is None else span(run.ended_at - run.started_at)
        times = "" if run.count == 1 else f" ({run.count:,} times)"
        rows.append((local(run.scheduled_at), run.outcome + times, took, run.attempts, run.error or run.reason))
    output.print_table(["OCCURRENCE", "OUTCOME", "TOOK", "ATTEMPTS", "ERROR"], rows, right=["TOOK", "ATTEMPTS"])


@click.command("count")
@click.argument("task", required=False)
@state_option
@json_option
@target_options
def count_command(
    task: str | None,
    state: Any,
    as_json: bool,
    target: Target,
) -> None:
    """Count the instances of TASK, or of each task. An estimate is marked with a `~`."""

    async def work(context: PyncetteContext) -> list[tuple[str, Count]]:
        found = await find_all(context, [] if task is None else [task])
        if task is not None and not found[0].dynamic:
            raise Failure(f"{task!r} is a static task and has no instances.", Status.USAGE)
        templates = [each for each in found if each.dynamic]
        return [(each.name, await context.count_tasks(each, state=state)) for each in templates]

    counts = with_context(target, work)
    if as_json:
        output.print_lines({"task": name, "count": count.value, "exact": count.exact} for name, count in counts)
    elif task is not None:
        click.echo(_number(counts[0][1]))
    else:
        rows = [(name, _number(count)) for name, count in counts]
        output.print_table(["TASK", "INSTANCES"], rows, right=["INSTANCES"])


def _number(count: Count) -> str:
    return f"{count.value:,}" if count.exact else f"~{count.value:,}"
