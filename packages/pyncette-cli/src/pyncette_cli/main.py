"""The program ``pyncette``: finds the command, and turns what went wrong into a line and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from .failures import Failure, Status, describe
from .options import begin, debugging

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ELSEWHERE = ""
"""Stands for the module of a command that another distribution brings, as an entry point of the group
``pyncette.commands``."""

SECTIONS = {
    "Look": {
        "tasks": ("inventory", "List the stored tasks."),
        "list": ("instances", "List the instances of a task."),
        "show": ("instances", "Show one instance, or one static task."),
        "count": ("instances", "Count the instances of a task."),
        "dead": ("runs", "List dead instances, with their last error."),
        "runs": ("runs", "List what has run."),
        "next": ("preview", "Preview the occurrences of a schedule, with changes of clocks."),
        "workers": ("inventory", "List the processes that execute tasks."),
        "orphans": ("inventory", "List the tasks that no worker executes any more."),
    },
    "Control": {
        "schedule": ("scheduling", "Schedule or update an instance."),
        "unschedule": ("scheduling", "Remove instances."),
        "pause": ("steering", "Pause a task, or instances of it."),
        "resume": ("steering", "Resume what is paused."),
        "retry": ("steering", "Give dead instances fresh attempts."),
        "trigger": ("ondemand", "Execute something once, now."),
        "backfill": ("ondemand", "Execute the moments of a past range."),
        "recompute": ("ondemand", "Move next occurrences after an update of tzdata."),
        "purge": ("inventory", "Remove everything stored for an orphan."),
    },
    "Operate": {
        "run": ("running", "Run an app, in one process or in several."),
        "dashboard": (ELSEWHERE, "Serve the dashboard, which shows and controls all this in a browser."),
        "doctor": ("doctor", "Check storage, workers and tasks, and say what to do."),
        "schema": ("schema", "Print, check or upgrade the tables."),
        "export": ("transfer", "Write all instances of tasks as JSON lines."),
        "import": ("transfer", "Schedule instances from JSON lines, keeping next occurrences."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
"""Module and one line of help of each command: ``--help`` imports none of them."""

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = COMMANDS[cmd_name][0]
        if name == ELSEWHERE:
            return _from_elsewhere(cmd_name)
        module = importlib.import_module(f"pyncette_cli.commands.{name}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            meant = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {meant[0]!r}?" if meant else "pyncette --help lists the commands."
            raise Failure(f"There is no command {args[0]!r}.", Status.USAGE, hint)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Without importing the commands."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


def _from_elsewhere(name: str) -> click.Command:
    """
    :raises Failure: the distribution that brings it is not installed.
    """
    from importlib.metadata import entry_points

    for point in entry_points(group="pyncette.commands", name=name):
        command: click.Command = point.load()
        return command
    raise Failure(
        f"The {name} is a separate distribution, which is not installed.",
        Status.USAGE,
        f'Install it: pip install "pyncette[{name}]>=2"',
    )


EXAMPLES = """\b
Examples:
  export PYNCETTE_STORE=postgresql://user@host/database
  pyncette tasks
  pyncette list report --state dead
  pyncette pause report --reason "the mail server is being moved"
  pyncette next "30 2 * * *" --timezone Europe/Berlin
  pyncette run tasks:app --workers 4
"""


@click.command(
    cls=Commands, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True
)
@click.version_option(package_name="pyncette-cli", message="pyncette %(version)s")
def program() -> None:
    """Inspect and control what Pyncette has scheduled.

    Most commands need no more than the URL of the storage, in --store or in the variable PYNCETTE_STORE.
    """


def main() -> None:
    """Run the program, and exit."""
    sys.exit(int(attempt(sys.argv[1:])))


def attempt(arguments: list[str]) -> int:
    """Run the program with these arguments; the exit status."""
    begin()
    try:
        result: Any = program.main(args=arguments, prog_name="pyncette", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Status.OK
    except (KeyboardInterrupt, click.exceptions.Abort) as e:
        click.echo(str(e) or "Interrupted.", err=True)
        return Status.INTERRUPTED
    except Failure as e:
        e.show()
        return e.status
    except click.exceptions.NoArgsIsHelpError as e:
        click.echo(e.format_message(), err=True)
        return Status.USAGE
    except click.UsageError as e:
        return misused(e).status
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except Exception as e:
        if debugging():
            raise
        failure = describe(e)
        failure.show()
        return failure.status
    return result if isinstance(result, int) else Status.OK


def misused(error: click.UsageError) -> Failure:
    """Say in two lines how a command was called wrongly."""
    path = "pyncette" if error.ctx is None else error.ctx.command_path
    failure = Failure(error.format_message(), Status.USAGE, f"{path} --help shows how it is called.")
    failure.show()
    return failure
