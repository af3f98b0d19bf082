"""The keywords of tasks and instances: which are parameters, and which are arguments of the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyncette._validation.suggest import near_miss

SCHEDULE_PARAMETERS = ("schedule", "interval", "execute_at", "timezone")
POLICY_PARAMETERS = ("enabled", "fast_forward", "failure_mode", "execution_mode", "lease_duration")
PARTITION_PARAMETERS = ("partition_count", "partition_selector", "enabled_partitions")
TASK_PARAMETERS = ("name", *SCHEDULE_PARAMETERS, *POLICY_PARAMETERS, *PARTITION_PARAMETERS)


def split_kwargs(kwargs: dict[str, Any], parameters: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords that are ``parameters``, and the arguments of the task.

    :raises TypeError: a keyword is a near miss of a parameter.
    """
    known = {name: value for name, value in kwargs.items() if name in parameters}
    args = {name: value for name, value in kwargs.items() if name not in parameters and name != "args"}
    for name in args:
        if meant := near_miss(name, TASK_PARAMETERS):
            raise TypeError(
                f"{name!r} is not a task parameter; did you mean {meant!r}? "
                f"If it is an argument of the task, write args={{{name!r}: …}}."
            )
    explicit = kwargs.get("args") or {}
    if not isinstance(explicit, dict) or not all(isinstance(key, str) for key in explicit):
        raise TypeError(f"args must be a dictionary with string keys, not {explicit!r}.")
    if both := args.keys() & explicit.keys():
        raise TypeError(f"The argument {min(both)!r} is given twice, as a keyword and in args.")
    return known, {**args, **explicit}


def split_instance_kwargs(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Timing and arguments of an instance.

    :raises TypeError: a policy is given, or a keyword is misspelt.
    """
    for name in ("name", *POLICY_PARAMETERS, *PARTITION_PARAMETERS):
        if name in kwargs:
            raise TypeError(
                f"{name!r} belongs to the template and can't be given for one instance: set it where the task is "
                f"declared, or write args={{{name!r}: …}} if it is an argument of the task."
            )
    return split_kwargs(kwargs, SCHEDULE_PARAMETERS)
