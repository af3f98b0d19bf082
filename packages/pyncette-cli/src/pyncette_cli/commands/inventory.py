"""What is stored, who executes it, and what nobody executes any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from pyncette import PyncetteContext, StoredTask, Worker
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status
from pyncette_cli.options import json_option, target_options, yes_option
from pyncette_cli.target import chosen, not_found, with_context
from pyncette_cli.values import iso, local, relative


@click.command("tasks")
@target_options
@json_option
def tasks_command(store: str | None, app_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """List the tasks of which something is stored, and those that --app declares."""

    async def work(context: PyncetteContext) -> list[StoredTask]:
        return await context.tasks()

    _print_tasks(with_context(chosen(store, app_path, settings), work), as_json)


@click.command("orphans")
@target_options
@json_option
def orphans_command(store: str | None, app_path: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """List the tasks of which something is stored, but that no live worker executes.

    They were removed or renamed in the code, or no worker runs. `pyncette purge` removes one.
    """

    async def work(context: PyncetteContext) -> list[StoredTask]:
        return await context.orphans()

    _print_tasks(with_context(chosen(store, app_path, settings), work), as_json)


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
@target_options
@yes_option
def purge_command(task: str, store: str | None, app_path: str | None, settings: tuple[str, ...], yes: bool) -> None:
    """Remove all that is stored of TASK, which must be one of `pyncette orphans`. It can't be undone."""

    async def work(context: PyncetteContext) -> int:
        orphans = [each.name for each in await context.orphans()]
        if task not in orphans and task in [each.name for each in await context.tasks()]:
            raise Failure(
                f"{task!r} is no orphan: a worker executes it, or the app declares it.",
                hint="Unschedule its instances instead, or stop what executes it.",
            )
        if task not in orphans:
            raise not_found(task, orphans, "orphan")
        output.confirm(f"Remove all that is stored of {task!r}?", yes=yes)
        return await context.purge(task)

    removed = with_context(chosen(store, app_path, settings), work)
    output.note(f"Removed {removed:,} records of {task!r}.")


@click.command("workers")
@target_options
@json_option
def workers_command(store: str | None, app_path: str | None, settings: tuple[str, ...], as_json: bool) -> int:
    """List the processes that execute tasks. The exit status is 1 if there is none."""

    async def work(context: PyncetteContext) -> list[Worker]:
        return await context.workers()

    workers = with_context(chosen(store, app_path, settings), work)
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
        f"{worker.clock_offset:+.3f} s",
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
