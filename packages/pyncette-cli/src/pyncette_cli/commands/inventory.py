"""What is stored, which workers execute it, and what none executes any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from pyncette import Count, PyncetteContext, StoredTask, Worker
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status
from pyncette_cli.options import dry_run_option, json_option, kind_option, target_options, yes_option
from pyncette_cli.target import Target, find, not_found, with_context
from pyncette_cli.values import counted, iso, local, relative


@click.command("tasks")
@target_options
@json_option
def tasks_command(target: Target, as_json: bool) -> None:
    """List the tasks that are stored, and those that --app declares."""

    async def work(context: PyncetteContext) -> list[StoredTask]:
        return await context.tasks()

    _print_tasks(with_context(target, work), as_json)


@click.command("orphans")
@target_options
@json_option
def orphans_command(target: Target, as_json: bool) -> None:
    """List the tasks that are stored, but that no live worker executes.

    They were removed or renamed in the code, or no worker runs. `pyncette purge` removes one.
    """

    async def work(context: PyncetteContext) -> list[StoredTask]:
        return await context.orphans()

    _print_tasks(with_context(target, work), as_json)


def _print_tasks(tasks: Sequence[StoredTask], as_json: bool) -> None:
    if as_json:
        output.print_lines(map(_task_fields, tasks))
    elif tasks:
        output.print_table(["TASK", "KIND", "PAUSED"], [(task.name, _kind(task), _pause(task)) for task in tasks])
    else:
        output.note("None.")


def _kind(task: StoredTask) -> str:
    return f"partitioned ({task.partition_count})" if task.kind == "partitioned" else task.kind


def _pause(task: StoredTask) -> str:
    if task.paused_since is None:
        return ""
    return f"since {local(task.paused_since)}" + (f": {task.paused_reason}" if task.paused_reason else "")


def _task_fields(task: StoredTask) -> dict[str, Any]:
    return {
        "task": task.name,
        "kind": task.kind,
        "partition_count": task.partition_count,
        "declared": task.declared,
        "stored": task.stored,
        "paused_since": iso(task.paused_since),
        "paused_reason": task.paused_reason,
    }


@click.command("purge")
@click.argument("task")
@kind_option
@target_options
@dry_run_option
@yes_option
def purge_command(task: str, kind: Any, target: Target, dry_run: bool, yes: bool) -> None:
    """Remove everything stored for TASK, which must be one of `pyncette orphans`. This can't be undone."""

    async def work(context: PyncetteContext) -> None:
        counts = [await _count(context, each) for each in await _orphans(context, task, kind)]
        count = Count(sum(each.value for each in counts), exact=all(each.exact for each in counts))
        number = f"{'' if count.exact else 'about '}{counted(count.value, 'record')}"
        if dry_run:
            click.echo(f"{number} of {task!r} would be removed.")
            return
        output.confirm(f"Remove {number} of {task!r}, which is all that is stored of it?", yes=yes)
        with output.progress("Removing", count.value) as advance:
            removed = await context.purge(task, advance, kind=kind)
        click.echo(f"Removed {removed:,} of {task!r}.")

    with_context(target, work)


async def _count(context: PyncetteContext, orphan: StoredTask) -> Count:
    found = await find(context, orphan.name, orphan.kind)
    return await context.count_tasks(found) if found.dynamic else Count(1, exact=True)


async def _orphans(context: PyncetteContext, task: str, kind: str | None) -> list[StoredTask]:
    """The orphans of that name, and of that kind.

    :raises Failure: it is none.
    """
    orphans = await context.orphans()
    meant = [each for each in orphans if each.name == task and kind in (None, each.kind)]
    if meant:
        return meant
    if task in [each.name for each in await context.tasks()]:
        raise Failure(
            f"{task!r} is not an orphan: a worker executes it, or the app declares it.",
            hint="Unschedule its instances instead, or stop what executes it.",
        )
    raise not_found(task, [each.name for each in orphans], "orphan")


@click.command("workers")
@target_options
@json_option
def workers_command(target: Target, as_json: bool) -> int:
    """List the processes that execute tasks. The exit status is 1 if there is none."""

    async def work(context: PyncetteContext) -> list[Worker]:
        return await context.workers()

    workers = with_context(target, work)
    if as_json:
        output.print_lines(map(_worker_fields, workers))
    elif workers:
        now = datetime.now(UTC)
        columns = ["WORKER", "RUNNING", "TASKS", "VERSION", "LOOP", "CLOCK", "LAST SEEN"]
        output.print_table(columns, [_worker_row(each, now) for each in workers], right=["RUNNING", "TASKS", "CLOCK"])
    else:
        output.note("No worker is at work.")
    return Status.OK if workers else Status.FAILED


def _worker_row(worker: Worker, now: datetime) -> tuple[object, ...]:
    return (
        worker.name,
        f"{worker.running}/{worker.concurrency_limit}",
        worker.task_count,
        worker.version,
        worker.event_loop,
        f"{round(worker.clock_offset, 3) or 0:+.3f} s",
        relative(worker.last_seen, now),
    )


def _worker_fields(worker: Worker) -> dict[str, Any]:
    return {
        "worker": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "python": worker.python,
        "event_loop": worker.event_loop,
        "tasks": list(worker.tasks),
        "task_count": worker.task_count,
        "running": worker.running,
        "concurrency_limit": worker.concurrency_limit,
        "started_at": iso(worker.started_at),
        "last_tick": iso(worker.last_tick),
        "last_seen": iso(worker.last_seen),
        "clock_offset": worker.clock_offset,
    }
