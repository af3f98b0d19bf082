"""Completion of commands and options in shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pyncette_cli.options import debug_option


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    In ~/.bashrc:                   eval "$(pyncette completion bash)"
    In ~/.zshrc:                    eval "$(pyncette completion zsh)"
    In ~/.config/fish/config.fish:  pyncette completion fish | source
    """
    made = get_completion_class(shell)
    root = ctx.find_root()
    assert made is not None  # noqa: S101 -- click has all three
    click.echo(made(root.command, {}, "pyncette", "_PYNCETTE_COMPLETE").source())
