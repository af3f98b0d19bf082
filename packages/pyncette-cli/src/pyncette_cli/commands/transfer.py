"""Instances, out of one storage and into another: JSON lines, with all next occurrences kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import IO, Any

import click

from pyncette import BulkResult, PyncetteContext, Scheduling, TaskState
from pyncette_cli import output
from pyncette_cli.failures import Failure, Status, as_usage
from pyncette_cli.options import dry_run_option, kind_option, target_options
from pyncette_cli.target import Target, find, find_all, with_context
from pyncette_cli.values import counted, iso

from .instances import pages, schedule_fields
from .steering import refusals

BOUNDS = ("execute_at", "start_at", "end_at")


@click.command("export")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--output", "-f", "file", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="A file.")
@kind_option
@target_options
def export_command(tasks: tuple[str, ...], file: IO[str], kind: Any, target: Target) -> None:
    """Write all instances of each TASK, or of all tasks, as JSON lines. `pyncette import` reads them.

    Runs, pauses of single instances and leases are not part of it.

    \b
    Examples:
      pyncette export > instances.jsonl
      pyncette export report -f instances.jsonl
    """

    async def work(context: PyncetteContext) -> int:
        templates = [await find(context, name, kind) for name in tasks] or [
            each for each in await find_all(context, ()) if each.dynamic and kind in (None, each.kind)
        ]
        written = 0
        for template in templates:
            with as_usage():
                total = await context.count_tasks(template)
            with output.progress(template.name, total.value) as advance:
                start = written
                async for page, _ in pages(context, template, None, {}):
                    for state in page:
                        if state.state not in ("unreadable", "completed"):
                            print(json.dumps(row(state), ensure_ascii=False), file=file)
                            written += 1
                    advance(written - start)
        return written

    output.note(f"Exported {counted(with_context(target, work), 'instance')}.")


def row(state: TaskState) -> dict[str, Any]:
    """One instance as a line; what it does not have is left out."""
    fields = {name: value for name, value in schedule_fields(state.task).items() if value is not None}
    own = {"task": state.task.template.name, "instance": state.task.name, "next": iso(state.scheduled_at)}
    return {**own, **fields, "args": state.task.extra_args}


@click.command("import")
@click.argument("file", type=click.File(encoding="utf-8"))
@dry_run_option
@target_options
def import_command(
    file: IO[str],
    dry_run: bool,
    target: Target,
) -> int:
    """Schedule the instances in FILE (- is the standard input), each with the next occurrence that it had.

    What exists stays as it is, so an import that was interrupted can be repeated. Tasks that have no instance there yet
    are known by --app alone.
    """

    async def work(context: PyncetteContext) -> int:
        results: list[tuple[str, BulkResult]] = []
        tasks = itertools.groupby(parsed(file), lambda line: str(line[1]["task"]))
        if dry_run:
            for name, rows in tasks:
                await find(context, name)
                click.echo(f"{name}: {counted(sum(1 for _ in rows), 'instance')}.")
            return Status.OK
        with output.progress("Importing", _length(file)) as advance:
            before = 0
            for name, rows in tasks:
                template = await find(context, name)
                told = partial(_add, advance, before)
                result = await context.import_tasks(template, (instance(*line) for line in rows), told)
                before += result.done + len(result.refused)
                results.append((name, result))
        return max([_say(name, result) for name, result in results], default=Status.OK)

    return with_context(target, work)


def _length(file: IO[str]) -> int | None:
    """How many lines there are; None of a pipe."""
    if not file.seekable():
        return None
    count = sum(1 for _ in file)
    file.seek(0)
    return count


def _add(advance: Callable[[int], None], before: int, number: int) -> None:
    advance(before + number)


def _say(name: str, result: BulkResult) -> int:
    kept = result.scheduling[Scheduling.KEPT]
    click.echo(f"{name}: {result.done - kept:,} imported, {kept:,} were there already.")
    return refusals(result)


def parsed(file: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines with their numbers.

    :raises Failure: one is no instance.
    """
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            instance(number, found)
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise Failure(
                f"Line {number} is not an instance: {type(e).__name__}: {e}",
                Status.USAGE,
                "`pyncette export` writes such lines.",
            ) from e
        yield number, found


def instance(number: int, fields: dict[str, Any]) -> tuple[str, datetime, dict[str, Any]]:
    """Name, next occurrence, and the keywords of ``schedule_task``."""
    keywords: dict[str, Any] = {"args": fields.get("args", {})}
    for name in ("schedule", "timezone", "max_runs"):
        if fields.get(name) is not None:
            keywords[name] = fields[name]
    for name in BOUNDS:
        if fields.get(name) is not None:
            keywords[name] = datetime.fromisoformat(fields[name])
    if fields.get("interval") is not None:
        keywords["interval"] = timedelta(seconds=fields["interval"])
    return str(fields["instance"]), datetime.fromisoformat(fields["next"]), keywords
