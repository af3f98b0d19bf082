"""Reads durations, moments and arguments, and writes them for people."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")


class Duration(click.ParamType[timedelta]):
    """``90s``, ``5m``, ``1h30m``, ``2d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = duration(value)
        if found is None:
            self.fail(f"{value!r} is not a duration: write 90s, 5m, 1h30m or 2d.", param, ctx)
        return found


class Moment(click.ParamType[datetime]):
    """An ISO date and time, local without an offset, or ``+`` and a duration."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if value.startswith("+") and (delta := duration(value[1:])) is not None:
            return datetime.now(UTC) + delta
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            self.fail(
                f"{value!r} is not a date or time: write 2027-01-31T08:00, 2027-01-31T08:00+01:00 or +90m.", param, ctx
            )


def duration(text: str) -> timedelta | None:
    """The duration that a text stands for; None if it is none."""
    compact = text.strip().lower()
    parts = _PART.findall(compact)
    if not parts or _PART.sub("", compact).strip():
        return None
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


def arguments(pairs: tuple[str, ...], text: str | None) -> dict[str, Any]:
    """The arguments of an instance: a JSON object, and ``name=value`` pairs whose values are JSON or plain text.

    :raises BadParameter: they can't be read.
    """
    found: dict[str, Any] = {}
    if text is not None:
        try:
            found = json.loads(text)
        except ValueError as e:
            raise click.BadParameter(f"not JSON: {e}", param_hint="--args") from e
        if not isinstance(found, dict):
            raise click.BadParameter('write a JSON object, such as {"user": 7}', param_hint="--args")
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"{name!r} has no value: write NAME=VALUE.", param_hint="--arg")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def clean(text: str) -> str:
    """A text from someone else, without control characters for the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """A number of things that have a regular plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(delta: timedelta) -> str:
    """A duration in its one or two largest units."""
    seconds = abs(delta.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit, smaller, small in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            few = f" {rest // smaller:.0f} {small}" if whole < 10 and rest >= smaller else ""
            return f"{whole:.0f} {unit}{few}"
    return f"{seconds:.0f} s"


def relative(moment: datetime, now: datetime) -> str:
    """``in 3 h`` or ``3 h ago``."""
    delta = moment - now
    if abs(delta) < timedelta(seconds=1):
        return "now"
    return f"in {span(delta)}" if delta > timedelta(0) else f"{span(delta)} ago"


def local(moment: datetime) -> str:
    """In the zone of the user (the variable TZ), to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso(moment: datetime | None) -> str | None:
    """In UTC, as JSON has it."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
