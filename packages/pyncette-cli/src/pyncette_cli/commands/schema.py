"""The tables of a storage: how they are made, whether they are as they should be."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import click

from pyncette import PyncetteContext
from pyncette_cli.failures import Failure, Status, as_usage
from pyncette_cli.options import target_options
from pyncette_cli.target import Target, with_context


@click.group("schema")
def schema_command() -> None:
    """Print the statements for the tables, check the tables, or update them."""


@schema_command.command("print")
@click.option("--from-format", type=int, default=0, help="The format of existing tables; 0 creates new ones.")
@click.option("--expand-only", is_flag=True, help="Leave out the steps after which older releases can't continue.")
@target_options
def print_command(from_format: int, expand_only: bool, target: Target) -> None:
    """Print the SQL that creates the tables, or for DynamoDB the table's definition. Connects to nothing."""
    if target.store is None:
        raise Failure("Which storage?", Status.USAGE, "Give --store; a scheme will do, such as --store postgresql://")
    module = _module(target.store.partition("://")[0].lower())
    names = [value for name, value in target.settings.items() if name.endswith("_table_name")]
    table = {"table_name": names[0]} if names else {}
    if hasattr(module, "table_definition"):
        click.echo(json.dumps(module.table_definition(**table), indent=2))
        return
    if not hasattr(module, "schema_sql"):
        raise Failure("This storage has no tables: there is nothing to print.", Status.USAGE)
    with as_usage():
        click.echo(module.schema_sql(**table, from_format=from_format, contract=not expand_only))


def _module(scheme: str) -> Any:
    points = {point.name: point for point in entry_points(group="pyncette.backends")}
    if scheme not in points:
        raise Failure(
            f"No backend for {scheme!r} is installed.", Status.USAGE, f"Installed: {', '.join(sorted(points))}"
        )
    return importlib.import_module(points[scheme].module)


@schema_command.command("status")
@target_options
def status_command(target: Target) -> None:
    """Show whether the storage fits this release. The exit status is 3 if it doesn't."""

    async def work(context: PyncetteContext) -> None: ...

    with_context(target, work)
    click.echo("The storage is as this release needs it.")


@schema_command.command("upgrade")
@click.option("--finish", is_flag=True, help="No process of an older release is left: finish the upgrade.")
@target_options
def upgrade_command(finish: bool, target: Target) -> None:
    """Create or update the tables. Processes of the older release continue, unless --finish is given."""

    async def work(context: PyncetteContext) -> None: ...

    settings = {**target.settings, "finish_upgrade": True} if finish else target.settings
    with_context(replace(target, settings=settings, create=True), work)
    click.echo("The storage is as this release needs it.")
