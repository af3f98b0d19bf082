"""An instance's stored schedule and arguments, as versioned JSON text. Pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pyncette._schedules.moments import EARLIEST, LATEST
from pyncette._validation.checks import shown
from pyncette.schedule import Cron, Interval, Once, Schedule, SkippedRange

VERSION = 1

_FIELDS = frozenset({"v", "cron", "tz", "every", "at", "since", "from", "to", "runs", "args", "ctx"})

MAX_DEPTH = 200
"""The maximum nesting depth of arguments. Every decoder can handle it, however deep the call stack is."""

_PLAIN = (str, int, type(None))  # bool is an int

_JSON = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class UndecodableSpec(ValueError):
    """The stored text is not a spec that this version understands."""


class LaterSpec(UndecodableSpec):
    """A later version wrote the stored spec or state. It is left as it is, for that version to execute."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a schedule: between which moments, in microseconds, and how often it has occurrences.

    :ivar start_at: the first moment; an interval's occurrences are this one and those a multiple of the interval later.
        It may be in the past.
    :ivar end_at: the latest moment, inclusive.
    :ivar max_runs: how many occurrences may begin. The state counts them; a schedule doesn't know.
    """

    start_at: int | None = None
    end_at: int | None = None
    max_runs: int | None = None

    def ended(self, moment: int) -> bool:
        """Whether ``moment`` is later than ``end_at``."""
        return self.end_at is not None and moment > self.end_at


UNBOUNDED = Bounds()


@dataclass(frozen=True, slots=True)
class Spec:
    """A schedule, its arguments, its bounds, and the moment from which the schedule counts.

    :ivar args: JSON text of an object, so that every execution gets its own copy.
    :ivar since: microseconds; occurrences before it belong to an older schedule and are not caught up with.
    :ivar carried: the carrier's context from the scheduling call, passed on to executions; see
        :meth:`pyncette.Pyncette.use_carrier`.
    """

    schedule: Schedule
    args: str = "{}"
    since: int | None = None
    bounds: Bounds = UNBOUNDED
    carried: str | None = None

    def first(self, now: int) -> int | None:
        """The first occurrence of a schedule that is stored at ``now``; None if none is left.

        A one-off's occurrence may be in the past, all others are later than ``now``.
        """
        return self._within(self.schedule.first(now) if isinstance(self.schedule, Once) else self._after(now))

    def following(self, scheduled: int) -> int | None:
        """The occurrence after the one at ``scheduled``; None if that was the last."""
        if isinstance(self.schedule, Once):  # stored while an occurrence of another schedule was being executed
            is_to_come = self.since is not None and scheduled != self.schedule.at
            return self._within(self.schedule.at) if is_to_come else None
        start = scheduled if self.since is None else max(scheduled, self.since)
        return self._within(self._after(start))

    def latest(self, scheduled: int, now: int) -> int:
        """The latest occurrence that is not after ``now``, but at least the one at ``scheduled``."""
        following = self.following(scheduled)
        if following is None or following > now:
            return scheduled
        return self.schedule.latest(following, now if self.bounds.end_at is None else min(now, self.bounds.end_at))

    def skipped(self, first: int, before: int) -> SkippedRange | None:
        """The occurrences from the one at ``first`` on that are earlier than ``before``; None if there are none."""
        if first >= before:
            return None
        following = self.following(first)
        if following is None or following >= before:
            return SkippedRange(first, first, 1)
        if self.bounds.end_at is not None:
            before = min(before, self.bounds.end_at + 1)
        rest = self.schedule.skipped(following, before)
        return replace(rest, first=first, count=rest.count + 1) if rest else SkippedRange(first, first, 1)

    def includes(self, moment: int) -> bool:
        """Whether there is an occurrence at ``moment``, by today's timezone rules. Always true for an interval without
        ``start_at``, which can't tell."""
        start = self.bounds.start_at
        if isinstance(self.schedule, Interval) and start is not None and (moment - start) % self.schedule.period:
            return False
        inside = (start is None or start <= moment) and not self.bounds.ended(moment)
        return inside and self.schedule.includes(moment)

    def _after(self, moment: int) -> int | None:
        """The first occurrence after ``moment`` that is not before ``start_at``."""
        start = self.bounds.start_at
        if start is None:
            return self.schedule.following(moment, moment)
        earliest = max(moment + 1, start)
        if not isinstance(self.schedule, Interval):
            return self.schedule.following(earliest - 1, earliest)
        return start if earliest <= start else self.schedule.following(start, earliest, fast_forward=True)

    def _within(self, moment: int | None) -> int | None:
        return None if moment is None or self.bounds.ended(moment) else moment


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
    fields.update(_bounds_to_fields(spec.bounds))
    if spec.carried is not None:
        fields["ctx"] = spec.carried
    head = _JSON.encode(fields)
    return head if spec.args == "{}" else f'{head[:-1]},"args":{spec.args}}}'


def decode(text: str, due_at: int = 0) -> tuple[Spec, dict[str, Any]]:
    """The spec, and its arguments as a fresh dictionary.

    :param due_at: the record's occurrence, stored next to the text.
    :raises UndecodableSpec: the text or the occurrence is damaged, or a later version wrote it.
    """
    args: dict[str, Any] = {}
    if len(text) <= _SHORT and '"args"' not in text:
        spec = _shared(text)
    else:
        spec, args = _decoded(text)
    if not EARLIEST <= due_at <= LATEST:
        raise UndecodableSpec("its next occurrence is outside the years 1 to 9999")
    return spec, args


_SHORT = 256
"""The maximum length of a text whose decoded spec is cached."""


@lru_cache(maxsize=1024)
def _shared(text: str) -> Spec:
    """Decode with a cache: most instances of a template share a schedule and have no arguments."""
    return _decoded(text)[0]


def _decoded(text: str) -> tuple[Spec, dict[str, Any]]:
    try:
        fields = json.loads(text)
        version = fields["v"]
        if version != VERSION:
            kind = LaterSpec if isinstance(version, int) and version > VERSION else UndecodableSpec
            raise kind(f"written in format {version!r}; this version of Pyncette reads format {VERSION}")
        args = fields.get("args", {})
        if not isinstance(args, dict):
            raise UndecodableSpec("its arguments are not an object")
        since = _whole(fields, "since", EARLIEST, LATEST) if "since" in fields else None
        carried = fields.get("ctx")
        carried = carried if isinstance(carried, str) else None
        return Spec(_schedule_of(fields), since=since, bounds=_bounds_of(fields), carried=carried), args
    except UndecodableSpec:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise UndecodableSpec(f"{type(e).__name__}: {e}") from e


def keep_unknown(old: str, new: str) -> str:
    """``new`` plus the fields of ``old`` that this version doesn't know, because a later one wrote them."""
    try:
        unknown = {name: value for name, value in json.loads(old).items() if name not in _FIELDS}
    except (ValueError, AttributeError, RecursionError):
        return new
    return _JSON.encode({**json.loads(new), **unknown}) if unknown else new


def _schedule_of(fields: Mapping[str, Any]) -> Schedule:
    if "cron" in fields:
        return Cron(fields["cron"], fields.get("tz"))
    if "every" in fields:
        return Interval(_whole(fields, "every", 1, LATEST - EARLIEST))
    return Once(_whole(fields, "at", EARLIEST, LATEST))


def _whole(fields: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = fields[name]
    if type(value) is not int or not least <= value <= most:
        raise UndecodableSpec(f"its field {name!r} is {shown(value)}")
    return value


def _bounds_to_fields(bounds: Bounds) -> dict[str, int]:
    if bounds is UNBOUNDED:
        return {}
    every = {"from": bounds.start_at, "to": bounds.end_at, "runs": bounds.max_runs}
    return {name: value for name, value in every.items() if value is not None}


def _bounds_of(fields: Mapping[str, Any]) -> Bounds:
    if not ("from" in fields or "to" in fields or "runs" in fields):
        return UNBOUNDED
    least = {"from": EARLIEST, "to": EARLIEST, "runs": 0}
    return Bounds(*(_whole(fields, name, least[name], LATEST) if name in fields else None for name in least))


def encode_args(args: Mapping[str, Any]) -> str:
    """The arguments of a task as JSON text, in time linear in its length.

    :raises ValueError: they are not strict JSON, or nested deeper than 200; says where.
    """
    problem = _json_problem(args)
    if problem is not None:
        raise ValueError(problem)
    try:
        return _JSON.encode(args)
    except ValueError as e:  # an integer with more digits than Python converts
        raise ValueError(f"The arguments can't be written as JSON: {e}. Pass large numbers as text.") from None


def decode_args(text: str) -> dict[str, Any]:
    """Decode the result of :func:`encode_args` into a new dictionary."""
    args: dict[str, Any] = json.loads(text)
    return args


def _json_problem(args: Mapping[str, Any]) -> str | None:
    """What in the arguments JSON can't represent, or would change silently; None if there is nothing.

    Iterative instead of recursive, and formats a path only if something is wrong there.
    """
    keys: list[Any] = []
    levels: list[Iterator[tuple[Any, Any]]] = [iter(args.items())]
    problem: str | None = None
    while levels:
        for key, value in levels[-1]:
            if isinstance(value, _PLAIN):
                continue
            if isinstance(value, (dict, list, tuple)):
                keys.append(key)
                problem = _container_problem(value, keys)
                levels.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
                break
            problem = _scalar_problem(value, [*keys, key])
            if problem is not None:
                return problem
        else:
            levels.pop()
            if keys:
                keys.pop()
            continue
        if problem is not None:
            return problem
    return None


def _container_problem(value: Any, path: list[Any]) -> str | None:
    if len(path) > MAX_DEPTH:
        return _too_deep(value, path)
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                where, text = _path_text(path), shown(shown(key, str))
                return f"The argument {where} has the key {shown(key)}; keys must be strings: write {text}."
    return None


def _too_deep(value: Any, path: list[Any]) -> str:
    """Describe nesting that is too deep: follow the first container at each level, to find the depth or a cycle."""
    depth, seen = len(path) - 1, set()
    while value is not None and id(value) not in seen:
        seen.add(id(value))
        depth += 1
        items = value.values() if isinstance(value, dict) else value
        value = next((item for item in items if isinstance(item, (dict, list, tuple))), None)
    name = shown(path[0], str)
    if value is not None:
        return (
            f"The argument {name} contains itself, which JSON can't hold: pass names or numbers instead of references."
        )
    return (
        f"The argument {name} is nested {depth:,} levels deep, and at most {MAX_DEPTH} are possible: make it flatter, "
        "or pass json.dumps(…) of it."
    )


def _scalar_problem(value: object, path: list[Any]) -> str | None:
    if not isinstance(value, float):
        return (
            f"The argument {_path_text(path)} is of type {type(value).__name__}, which JSON can't hold: "
            "pass text, numbers, booleans, None, lists and dictionaries."
        )
    if not math.isfinite(value):
        return f"The argument {_path_text(path)} is {value}, which JSON has no number for: pass None or a string."
    return None


def _path_text(path: list[Any]) -> str:
    return shown(path[0], str) + "".join(f"[{shown(key)}]" for key in path[1:])
