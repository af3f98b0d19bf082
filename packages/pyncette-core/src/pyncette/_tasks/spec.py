"""What is stored of an instance's schedule and arguments, as versioned JSON text. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyncette.schedule import Cron, Interval, Once, Schedule

VERSION = 1

_FIELDS = frozenset({"v", "cron", "tz", "every", "at", "since", "args"})

_JSON = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class UndecodableSpec(ValueError):
    """The stored text is not a spec that this version understands."""


class LaterSpec(UndecodableSpec):
    """The stored text was written by a later version. It is left as it is, for that version to execute."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A schedule, its arguments, and the moment from which the schedule counts.

    :ivar args: JSON text of an object, so that every execution gets a copy of its own.
    :ivar since: microseconds; occurrences before it belong to an older schedule and are not caught up with.
    """

    schedule: Schedule
    args: str = "{}"
    since: int | None = None

    def following(self, scheduled: int, now: int, *, fast_forward: bool) -> int | None:
        """The occurrence after the one at ``scheduled``, None if that was the last."""
        start = scheduled if self.since is None else max(scheduled, self.since)
        return self.schedule.following(start, now, fast_forward)


def encode(spec: Spec) -> str:
    schedule = spec.schedule
    fields: dict[str, Any] = {"v": VERSION}
    if isinstance(schedule, Cron):
        fields["cron"] = schedule.text
        if schedule.timezone is not None:
            fields["tz"] = schedule.timezone
    elif isinstance(schedule, Interval):
        fields["every"] = schedule.period
    else:
        fields["at"] = schedule.at
    if spec.since is not None:
        fields["since"] = spec.since
    head = _JSON.encode(fields)
    return head if spec.args == "{}" else f'{head[:-1]},"args":{spec.args}}}'


def decode(text: str) -> tuple[Spec, dict[str, Any]]:
    """The spec, and its arguments as a fresh dictionary.

    :raises UndecodableSpec: the text was damaged, or written by a version that came later.
    """
    try:
        fields = json.loads(text)
        version = fields["v"]
        if version != VERSION:
            kind = LaterSpec if isinstance(version, int) and version > VERSION else UndecodableSpec
            raise kind(f"written in format {version!r}; this version of Pyncette reads format {VERSION}")
        args = fields.get("args", {})
        if not isinstance(args, dict):
            raise UndecodableSpec("its arguments are not an object")
        since = fields.get("since")
        return Spec(_schedule_of(fields), since=None if since is None else int(since)), args
    except UndecodableSpec:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise UndecodableSpec(f"{type(e).__name__}: {e}") from e


def keep_unknown(old: str, new: str) -> str:
    """``new`` with the fields of ``old`` that this version does not know: a later one has written them."""
    try:
        unknown = {name: value for name, value in json.loads(old).items() if name not in _FIELDS}
    except (ValueError, AttributeError, RecursionError):
        return new
    return _JSON.encode({**json.loads(new), **unknown}) if unknown else new


def _schedule_of(fields: Mapping[str, Any]) -> Schedule:
    if "cron" in fields:
        return Cron(fields["cron"], fields.get("tz"))
    if "every" in fields:
        return Interval(int(fields["every"]))
    return Once(int(fields["at"]))


def encode_args(args: Mapping[str, Any]) -> str:
    """The arguments of a task as JSON text.

    :raises ValueError: they are not strict JSON; says where.
    """
    try:
        text = _JSON.encode(args)
    except (TypeError, ValueError, RecursionError) as e:
        raise ValueError(_why_not_json(args) or f"The arguments can't be written as JSON: {e}.") from None
    problem = _why_not_json(args)
    if problem is not None:
        raise ValueError(problem)
    return text


def decode_args(text: str) -> dict[str, Any]:
    """What :func:`encode_args` wrote, as a fresh dictionary."""
    args: dict[str, Any] = json.loads(text)
    return args


def _why_not_json(args: Mapping[str, Any]) -> str | None:
    """What in the arguments JSON has no way to write, or would change without a word."""
    stack: list[tuple[str, Any]] = [(name, value) for name, value in args.items()]
    seen: set[int] = set()
    while stack:
        path, value = stack.pop()
        if value is None or isinstance(value, (str, bool, int)):
            continue
        if isinstance(value, float):
            if value != value or value in (float("inf"), float("-inf")):
                return f"The argument {path} is {value}, which JSON has no number for: pass None or a string."
            continue
        if not isinstance(value, (dict, list, tuple)):
            return (
                f"The argument {path} is of type {type(value).__name__}, which JSON can't hold: "
                "pass text, numbers, booleans, None, lists and dictionaries."
            )
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    return f"The argument {path} has the key {key!r}; keys must be strings: write {str(key)!r}."
            stack += [(f"{path}[{key!r}]", item) for key, item in value.items()]
        else:
            stack += [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    return None
