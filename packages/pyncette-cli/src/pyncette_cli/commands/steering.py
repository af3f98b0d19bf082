"""Tasks and instances: paused, resumed, retried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from pyncette import BulkResult, PyncetteContext, Task
from pyncette_cli import output
from pyncette_cli.failures import Status, as_usage, one_line
from pyncette_cli.options import dry_run_option, instances_argument, target_options, yes_option
from pyncette_cli.target import Target, find, with_context
from pyncette_cli.values import clean


@click.command("pause")
@click.argument("task")
@instances_argument()
@click.option("--reason", default="", metavar="TEXT", help="Why; shown to everybody who looks.")
@target_options
def pause_command(task: str, instances: Sequence[str] | None, reason: str, target: Target) -> int:
    """Pause TASK with all its instances, or only INSTANCES of it. Executions under way finish as usual.

    With - as INSTANCES, names are read from standard input, one a line.

    \b
    Examples:
      pyncette pause report --reason "the mail server is being moved"
      pyncette pause report Ada Bob
      pyncette pause report - < names.txt
    """
    change = Change("Pausing", "Paused", PyncetteContext.pause_task, PyncetteContext.pause_tasks, {"reason": reason})
    return change.apply(target, task, instances)


@click.command("resume")
@click.argument("task")
@instances_argument()
@click.option(
    "--catch-up", is_flag=True, help="Treat what came due during the pause as missed, instead of skipping it."
)
@target_options
def resume_command(task: str, instances: Sequence[str] | None, catch_up: bool, target: Target) -> int:
    """Resume TASK, or INSTANCES that were paused individually.

    With - as INSTANCES, names are read from standard input, one a line.
    """
    change = Change(
        "Resuming", "Resumed", PyncetteContext.resume_task, PyncetteContext.resume_tasks, {"catch_up": catch_up}
    )
    return change.apply(target, task, instances)


@dataclass(frozen=True, slots=True)
class Change:
    """What can be done to a task as a whole, or to some of its instances.

    :ivar doing: what is said of it meanwhile.
    :ivar done: what is said of it afterwards.
    :ivar one: does it to the task.
    :ivar many: does it to instances.
    :ivar how: further arguments of both.
    """

    doing: str
    done: str
    one: Callable[..., Awaitable[None]]
    many: Callable[..., Awaitable[BulkResult]]
    how: Mapping[str, Any]

    def apply(self, target: Target, task: str, instances: Sequence[str] | None) -> int:
        """Do it, and say what became of the task, or of how many of its instances; the exit status."""
        result = with_context(target, partial(self._work, task, instances))
        if result is None:
            click.echo(f"{self.done} {task!r}.")
            return Status.OK
        click.echo(f"{self.done} {result.done:,} of {task!r}.")
        return refusals(result)

    async def _work(self, task: str, instances: Sequence[str] | None, context: PyncetteContext) -> BulkResult | None:
        found = await find(context, task)
        with as_usage():
            if instances is not None:
                with output.progress(self.doing, len(instances)) as advance:
                    return await self.many(context, found, instances, advance, **self.how)
            await self.one(context, found, **self.how)
        return None


def refusals(result: BulkResult) -> int:
    """Says what was refused, and why; the exit status."""
    from pyncette.errors import TaskNotFoundException

    output.note_some([f"{clean(name)!r}: {one_line(error)}" for name, error in result.refused])
    if not result.refused:
        return Status.OK
    missing = all(isinstance(error, TaskNotFoundException) for _, error in result.refused)
    return Status.NOT_FOUND if missing else Status.FAILED


@click.command("retry")
@click.argument("task")
@instances_argument()
@click.option("--all", "everything", is_flag=True, help="All dead instances.")
@dry_run_option
@yes_option
@target_options
def retry_command(
    task: str,
    instances: Sequence[str] | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    target: Target,
) -> int:
    """Give dead INSTANCES of TASK fresh attempts, or all of them; `pyncette dead` lists them.

    With - as INSTANCES, names are read from standard input, one a line.

    \b
    Examples:
      pyncette retry report Ada Bob
      pyncette retry report --all --dry-run
    """
    if everything and instances is not None:
        raise click.UsageError("Name instances, or give --all.")

    async def work(context: PyncetteContext) -> int:
        found = await find(context, task)
        if everything:
            return await _retry_all(context, found, dry_run, yes)
        if found.dynamic and instances is None:
            raise click.UsageError("Name instances, or give --all.")
        if dry_run:
            raise click.UsageError("--dry-run goes with --all.")
        return refusals(await _retry(context, found, (None,) if instances is None else instances))

    return with_context(target, work)


async def _retry(context: PyncetteContext, task: Task, instances: Sequence[str | None]) -> BulkResult:
    """Says of each what becomes of it. One that is refused does not keep the rest from being retried."""
    from pyncette.errors import TaskNotFoundException

    result = BulkResult()
    for name in instances:
        what = f"{task.name!r}" if name is None else f"{clean(name)!r} of {task.name!r}"
        try:
            with as_usage():
                dead = await context.retry_task(task, name)
        except TaskNotFoundException as e:
            result.refused.append((name or task.name, e))
            continue
        click.echo(f"{what} gets fresh attempts." if dead else f"{what} is not dead, and stays as it is.")
        result.done += dead
    return result


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
