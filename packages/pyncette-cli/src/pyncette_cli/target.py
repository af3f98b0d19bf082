"""Opens the storage that the options of a command name, with or without the code of an app."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import anyio
import click

from pyncette import Pyncette, PyncetteContext, Task
from pyncette.repository import Backend

from . import apps
from .failures import Failure, Status, one_line

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the tasks are.

    :ivar store: the URL of the storage; None for that of the app.
    :ivar app_path: ``module:name`` of the app; None to work without its code.
    :ivar settings: further options of the storage.
    :ivar create: whether what is missing in the storage is made.
    """

    store: str | None
    app_path: str | None
    settings: Mapping[str, Any]
    create: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PyncetteContext]:
        """The context of the app, or of one that declares nothing.

        :raises Failure: the options contradict each other, or make no sense to the storage.
        """
        app, options = self.source()
        try:
            opening = app.create(fixtures=False, **options)
        except (TypeError, ValueError) as e:
            raise Failure(one_line(e), Status.USAGE) from e
        async with opening as context:
            yield context

    def source(self) -> tuple[Pyncette, dict[str, Any]]:
        """The app, or one that declares nothing, and what its :meth:`~pyncette.Pyncette.create` takes besides.

        :raises Failure: the options contradict each other, or make no sense to the storage.
        """
        if self.app_path is not None:
            overridden: dict[str, Any] = {} if self.store is None else {"repository_factory": self.store}
            return apps.load(self.app_path), {**overridden, **self.settings}
        if self.store is None:
            raise Failure(
                "Where are the tasks?",
                Status.USAGE,
                "Give --store, such as --store postgresql://user@host/database, or set PYNCETTE_STORE.",
            )
        try:
            return Pyncette(self.store, **self._without_creating(self.store), **self.settings), {}
        except (TypeError, ValueError) as e:
            raise Failure(one_line(e), Status.USAGE) from e

    def _without_creating(self, store: str) -> dict[str, Any]:
        """Options that keep the storage from being made or changed by a command that only looks."""
        backend = _backend(store)
        if self.create or backend is None:
            return {}
        database = backend.options_from_url(store).get("sqlite_database")
        if database == ":memory:":
            raise Failure("This SQLite URL names no file: write sqlite:///path/to/file.db", Status.USAGE)
        if database is not None and not Path(database).exists():
            raise Failure(
                f"There is no file {str(Path(database).absolute())!r}.",
                Status.STORAGE,
                "A relative path has three slashes (sqlite:///file.db), an absolute one four.",
            )
        parameters = inspect.signature(backend.factory).parameters
        return {name: True for name in parameters if name.endswith("_skip_table_create") and name not in self.settings}


def _backend(store: str) -> Backend | None:
    scheme = store.partition("://")[0].lower()
    for point in entry_points(group="pyncette.backends", name=scheme):
        backend: Backend = point.load()
        return backend
    return None  # Pyncette says so, with what is installed


def chosen(store: str | None, app_path: str | None, settings: tuple[str, ...]) -> Target:
    """The target that options and variables name: the variables count if none of the options is given."""
    if store is None and app_path is None:
        store, app_path = os.environ.get("PYNCETTE_STORE") or None, os.environ.get("PYNCETTE_APP") or None
    return Target(store, app_path, dict(map(_setting, settings)))


def _setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{name!r} has no value: write NAME=VALUE.", param_hint="--option")
    plain: dict[str, Any] = {"true": True, "false": False}
    if value.lower() in plain:
        return name, plain[value.lower()]
    return name, int(value) if value.isdecimal() else value


def with_context(target: Target, work: Callable[[PyncetteContext], Awaitable[T]]) -> T:
    """What ``work`` returns, in a separate event loop."""

    async def opened() -> T:
        async with target.open() as context:
            return await work(context)

    try:
        return anyio.run(opened)
    except KeyboardInterrupt:
        raise click.Abort from None


async def find(context: PyncetteContext, name: str, kind: Any = None) -> Task:
    """The task of that name, and of that kind.

    :raises Failure: there is none, or there are several.
    """
    try:
        return await context.find_task(name, kind)
    except LookupError as e:
        stored = await context.tasks()
        kinds = [task.kind for task in stored if task.name == name]
        if not kinds:
            raise not_found(name, [task.name for task in stored]) from e
        if kind is not None:
            raise Failure(f"{name!r} is not {kind}, but {' and '.join(kinds)}.", Status.NOT_FOUND) from e
        raise Failure(
            f"There are several tasks {name!r}: it is {' and '.join(kinds)}.",
            Status.USAGE,
            "Name the app that declares the one that is meant, --app; list, export and purge also take --kind",
        ) from e


async def find_all(context: PyncetteContext, names: Collection[str]) -> list[Task]:
    """The tasks of these names; without names all of them."""
    if names:
        return [await find(context, name) for name in names]
    return [await context.find_task(task.name, task.kind) for task in await context.tasks()]


UNTIL_KNOWN = "a dynamic task is known once it has an instance, or by --app"


def not_found(name: str, known: list[str], what: str = "task") -> Failure:
    """There is no task of this name, among those that are known."""
    import difflib

    meant = difflib.get_close_matches(name, known, n=1)
    if meant:
        hint = f"Did you mean {meant[0]!r}?"
    elif known:
        listed = f"{', '.join(sorted(known)[:10])}{', …' if len(known) > 10 else ''}"
        hint = f"There is: {listed}" + (f" ({UNTIL_KNOWN})" if what == "task" else "")
    else:
        hint = f"Nothing is stored here; {UNTIL_KNOWN}."
    return Failure(f"There is no {what} {name!r}.", Status.NOT_FOUND, hint)
