"""Tells the keywords of tasks and instances apart: parameters, and arguments of the task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from pyncette._validation.suggest import near_miss

from .policies import POLICIES
from .timing import Timing

Argument: TypeAlias = str | int | float | bool | Sequence[object] | Mapping[str, object] | None
"""The type of a task's argument: what JSON can represent. Most policies have other types, so type checkers find
misspelt ones; the rest are found when the task is declared."""


SCHEDULE_PARAMETERS = tuple(Timing.__annotations__)
POLICY_PARAMETERS = ("enabled", *POLICIES)
PARTITION_PARAMETERS = ("partition_count", "partition_selector", "enabled_partitions")
TASK_PARAMETERS = ("name", *SCHEDULE_PARAMETERS, *POLICY_PARAMETERS, *PARTITION_PARAMETERS)

FOREIGN_WORDS: dict[str, str] = {
    **dict.fromkeys(
        ("cron", "cron_expression", "cron_schedule", "cron_string", "crontab", "schedule_interval", "trigger"),
        "schedule='*/5 * * * *', a cron expression, or interval=timedelta(minutes=5)",
    ),
    **dict.fromkeys(("every", "every_seconds", "interval_seconds", "run_every"), "interval=timedelta(minutes=5)"),
    **dict.fromkeys(
        ("countdown", "eta", "run_at", "run_date"),
        "execute_at=… of an instance: @app.dynamic_task(), then context.schedule_task(task, 'name', execute_at=…)",
    ),
    **dict.fromkeys(("tz", "tzinfo"), "timezone='Europe/Berlin'"),
    **dict.fromkeys(("disabled", "is_active", "is_enabled"), "enabled=False"),
    **dict.fromkeys(("job_id", "job_name", "task_name"), "name='…'"),
    **dict.fromkeys(("kwargs", "task_kwargs", "func_kwargs"), "args={'argument': …}"),
    **{word: known.write for known in POLICIES.values() for word in known.words},
}
"""Other schedulers' words for task parameters, and what to write instead."""

_PARAMETERS_OF_CALLS = ("self", "task", "name")
_PARAMETERS_OF_INSTANCES = ("instance_name", "force", "if_exists", "paused", "transaction")


def declared_args(kwargs: Mapping[str, object], explicit: object) -> dict[str, Any]:
    """The arguments in a task's declaration: the remaining keywords, and what is in ``args``.

    :raises TypeError: a keyword is a misspelt parameter, or another scheduler's word for one; or ``args`` is not a
        dictionary.
    """
    for name in kwargs:
        if problem := _in_a_declaration(name):
            raise TypeError(problem)
    return _merged(kwargs, explicit)


def instance_args(
    kwargs: Mapping[str, object], explicit: object, declared: Collection[str] = frozenset()
) -> dict[str, Any]:
    """The arguments of an instance: the remaining keywords, and what is in ``args``.

    :param declared: arguments that the task function declares, whatever they are called.
    :raises TypeError: a keyword is a policy or a misspelt parameter, or ``args`` is not a dictionary.
    """
    for name in kwargs:
        if name not in declared and (problem := _of_an_instance(name)):
            raise TypeError(problem)
    return _merged(kwargs, explicit)


def _merged(kwargs: Mapping[str, object], explicit: object) -> dict[str, Any]:
    if explicit is None:
        return dict(kwargs)
    if not isinstance(explicit, Mapping) or not all(isinstance(key, str) for key in explicit):
        raise TypeError(f"args must be a dictionary with string keys, not {explicit!r}.")
    if both := kwargs.keys() & explicit.keys():
        raise TypeError(f"The argument {min(both)!r} is given twice, as a keyword and in args.")
    return {**kwargs, **explicit}


def _in_a_declaration(name: str) -> str | None:
    if name in FOREIGN_WORDS:
        return f"{name!r} is not a task parameter: write {FOREIGN_WORDS[name]}. {_as_an_argument(name)}"
    if name in PARTITION_PARAMETERS:
        return f"{name!r} is a parameter of @app.partitioned_task(). {_as_an_argument(name)}"
    return _reserved(name, _PARAMETERS_OF_CALLS) or _misspelt(name)


@lru_cache(maxsize=1024)  # called for every argument of every instance
def _of_an_instance(name: str) -> str | None:
    if name in POLICY_PARAMETERS or name in PARTITION_PARAMETERS:
        return (
            f"{name!r} belongs to the template and can't be given for one instance: set it where the task is "
            f"declared. {_as_an_argument(name)}"
        )
    return _reserved(name, (*_PARAMETERS_OF_CALLS, *_PARAMETERS_OF_INSTANCES)) or _misspelt(name)


def _reserved(name: str, parameters: tuple[str, ...]) -> str | None:
    if name not in parameters:
        return None
    return f"{name!r} can't be passed as a keyword, as it is a parameter of its own. {_as_an_argument(name)}"


def _misspelt(name: str) -> str | None:
    meant = near_miss(name, TASK_PARAMETERS)
    if meant is None:
        return None
    return f"{name!r} is not a task parameter; did you mean {meant!r}? {_as_an_argument(name)}"


def _as_an_argument(name: str) -> str:
    return f"If it is an argument of the task, write args={{{name!r}: …}}."
