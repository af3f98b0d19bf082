"""Finds the backend for a URL or an option among the installed distributions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pyncette._validation.suggest import nearest
from pyncette.bridge import OPENS_LATER
from pyncette.memory import memory_repository
from pyncette.repository import Backend, Repository

GROUP = "pyncette.backends"

DISTRIBUTIONS = {
    "sqlite": "pyncette-sqlite",
    "redis": "pyncette-redis",
    "rediss": "pyncette-redis",
    "postgres": "pyncette-postgres",
    "postgresql": "pyncette-postgres",
    "mysql": "pyncette-mysql",
    "dynamodb": "pyncette-dynamodb",
}

Factory = Callable[..., AbstractAsyncContextManager[Repository]]


def choose(repository_factory: Factory | str | None, options: Mapping[str, Any]) -> tuple[Factory, Mapping[str, Any]]:
    """The factory, and the options that a URL contains.

    :raises ValueError: the URL's scheme is unknown, or the URL is malformed.
    :raises TypeError: ``repository_factory`` is neither a callable nor a URL.
    """
    if repository_factory is None:
        return (
            _load("sqlite").factory if any(name.startswith("sqlite_") for name in options) else memory_repository
        ), {}
    if isinstance(repository_factory, str):
        backend = _load(_scheme(repository_factory))
        return backend.factory, backend.options_from_url(repository_factory)
    if not callable(repository_factory):
        raise TypeError(
            "repository_factory must be a function such as sqlite_repository or a URL such as 'sqlite:///pyncette.db', "
            f"not an object of type {type(repository_factory).__name__}."
        )
    return repository_factory, {}


def opens_later(factory: Factory) -> bool:
    """Whether calling the factory only checks its options. Unknown, so False, for a user's own factory."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    return getattr(factory, OPENS_LATER, None) is factory


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ValueError("The repository URL has no scheme: write, for example, 'sqlite:///pyncette.db'.")
    return scheme.lower()


def _load(scheme: str) -> Backend:
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if scheme in installed:
        return _loaded(installed[scheme])
    have = ", ".join(sorted(installed)) or "none"
    message = f"No backend for {scheme!r} is installed (installed: {have}). {_advice(scheme, installed)}"
    raise ValueError(message.rstrip())


def _advice(scheme: str, installed: Collection[str]) -> str:
    plain, _, driver = scheme.partition("+")
    if plain == "mongodb":
        return "MongoDB is not supported since version 2; the migration page of the documentation says what to do."
    if scheme in DISTRIBUTIONS:
        return f"Install the distribution {DISTRIBUTIONS[scheme]}."
    if scheme in ("memory", "mem"):
        return "To keep everything in memory, pass no URL."
    known = (*installed, *DISTRIBUTIONS)
    if driver and plain in known:
        return f"Leave the driver {driver!r} out: write {plain}://…"
    if meant := nearest(scheme, known):
        return f"Did you mean {meant}://…?"
    others = sorted(set(DISTRIBUTIONS) - set(installed))
    return f"There are also: {', '.join(others)}." if others else ""


def _loaded(point: EntryPoint) -> Backend:
    backend = point.load()
    if not isinstance(backend, Backend):
        raise ValueError(f"The entry point {point.name!r} of {GROUP} is not a pyncette.repository.Backend.")
    return backend
