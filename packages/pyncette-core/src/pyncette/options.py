"""Binds the keyword options of ``Pyncette(...)`` to what understands them. Nothing is ever ignored."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ._validation.checks import check_count, check_duration, check_flag, shown
from ._validation.suggest import nearest
from .clock import Clock, SystemClock

HistoryOf = Literal["all", "errors"]
"""Which runs are logged."""

LONGEST_WORKER_NAME = 100
"""Bytes of UTF-8: what every store has room for, together with the token of a lease."""

_SETUP_NAMES = ("repository_factory", "executor_cls", "poll_interval")
_BACKENDS = ("sqlite", "redis", "postgres", "mysql", "dynamodb")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """Options of the loop itself.

    :ivar batch_size: the maximum number of occurrences claimed in one round trip, and of instances listed in a page.
    :ivar concurrency_limit: the maximum number of executions that run at the same time.
    :ivar drain_timeout: how long a graceful shutdown waits for executions before it cancels them and gives their
        leases back; None waits until they end.
    :ivar clock: the source of time; for tests.
    :ivar worker_name: the name of this process in leases and in the list of workers, up to 100 bytes of UTF-8; host
        name and process id by default.
    :ivar register_worker: whether this process appears in the list of workers while it runs, and takes turns with
        them.
    :ivar history: how long the log of runs is kept; None for no log. Needs a storage that supports it.
    :ivar history_of: whether to log ``"all"`` runs, or only ``"errors"``: those that neither succeeded nor were
        skipped.
    """

    batch_size: int = 100
    concurrency_limit: int = 100
    drain_timeout: datetime.timedelta | None = None
    clock: Clock = field(default_factory=SystemClock)
    worker_name: str | None = None
    register_worker: bool = True
    history: datetime.timedelta | None = None
    history_of: HistoryOf = "all"

    def __post_init__(self) -> None:
        for name in ("batch_size", "concurrency_limit"):
            check_count(name, getattr(self, name))
        if self.drain_timeout is not None:
            check_duration("drain_timeout", self.drain_timeout)
        if not isinstance(self.clock, Clock):
            raise TypeError(f"clock must be a pyncette.clock.Clock, not {type(self.clock).__name__}.")
        check_flag("register_worker", self.register_worker)
        if self.history is not None:
            check_duration("history", self.history)
        if self.history_of not in get_args(HistoryOf):
            raise ValueError(f'history_of must be "all" or "errors", not {self.history_of!r}.')
        if self.worker_name is not None:
            _check_worker_name(self.worker_name)


def _check_worker_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"worker_name must be a string, not {type(name).__name__}.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= LONGEST_WORKER_NAME or "\0" in name:
        raise ValueError(
            f"worker_name must be a text of 1 to {LONGEST_WORKER_NAME} bytes of UTF-8 without NUL, not {name[:40]!r}."
        )


LOOP_NAMES = tuple(LoopOptions.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Options:
    """All options, each where it belongs."""

    loop: LoopOptions
    repository: Mapping[str, Any]
    executor: Mapping[str, Any]


def bind(
    options: Mapping[str, Any],
    loop: LoopOptions,
    factory: Callable[..., Any],
    executor_cls: Callable[..., Any],
    from_url: Mapping[str, Any],
) -> Options:
    """Sort ``options`` by the parameters of the factory and the executor. ``from_url`` are options of the factory.

    Either gets ``batch_size`` and ``concurrency_limit`` of the loop as well if it has such a parameter. One that takes
    any option gets those that no other takes, an executor ``concurrency_limit`` too. If both take any, both get
    them, but for those of a backend, which begin with its name.

    :raises TypeError: an option that is not known, one that is given twice, or a required one that is missing.
    """
    repository, executor = Parameters.of(factory), Parameters.of(executor_cls)
    if twice := from_url.keys() & options.keys():
        raise TypeError(f"The option {min(twice)!r} is given twice: by itself, and as a part of the repository URL.")
    others = {name: value for name, value in options.items() if name not in (*repository.names, *executor.names)}
    if not (repository.takes_any or executor.takes_any):
        _refuse_unknown(others, (*LOOP_NAMES, *repository.names, *executor.names))
    shared = {**options, "batch_size": loop.batch_size, "concurrency_limit": loop.concurrency_limit}
    for_repository = {name: shared[name] for name in repository.names if name in shared} | dict(from_url)
    for_executor = {name: shared[name] for name in executor.names if name in shared}
    if executor.takes_any:
        for_executor["concurrency_limit"] = loop.concurrency_limit
        ours = {name: value for name, value in others.items() if name.partition("_")[0] not in _BACKENDS}
        for_executor |= ours if repository.takes_any else others
    if repository.takes_any:
        for_repository |= others
    _refuse_missing("repository", repository.required, for_repository)
    _refuse_missing("executor", executor.required, for_executor)
    return Options(loop, for_repository, for_executor)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The options that a function takes."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    takes_any: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Parameters:
        if not callable(function):
            raise TypeError(
                f"executor_cls must be a class such as pyncette.executor.DefaultExecutor, not {shown(function)}: "
                "pass the class itself, and its options to Pyncette(…)."
            )
        keyword = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind in keyword]
        return cls(
            tuple(p.name for p in named),
            tuple(p.name for p in named if p.default is p.empty),
            any(p.kind is p.VAR_KEYWORD for p in parameters),
        )

    def take(self, name: str) -> bool:
        return self.takes_any or name in self.names


def _refuse_missing(what: str, required: tuple[str, ...], given: Mapping[str, Any]) -> None:
    for name in required:
        if name not in given:
            raise TypeError(f"The {what} needs the option {name!r}: Pyncette(…, {name}=…).")


def _refuse_unknown(options: Mapping[str, Any], valid: tuple[str, ...]) -> None:
    known = sorted({*valid, *_SETUP_NAMES})
    for name in options:
        meant = nearest(name, known)
        hint = f"; did you mean {meant!r}?" if meant else f".{_other_backend(name, known)}"
        raise TypeError(f"Unknown option {name!r}{hint} Valid options here are: {', '.join(known)}.")


def _other_backend(name: str, known: list[str]) -> str:
    """What to write if ``name`` looks like an option of a backend that was not chosen."""
    backend = name.partition("_")[0]
    if backend not in _BACKENDS or any(other.startswith(f"{backend}_") for other in known):
        return ""
    factory = f"{backend}_repository"
    return (
        f" Options of {backend} go with repository_factory={factory} (from pyncette.{backend} import {factory}, "
        f"of the distribution pyncette-{backend})."
    )
