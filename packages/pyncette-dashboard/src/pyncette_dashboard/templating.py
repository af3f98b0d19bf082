"""The templates, and their filters for times, numbers and names. Everything is escaped."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyncette import Count, Task
from pyncette_cli.values import clean, relative, span
from pyncette_cli.words import schedule_in_words

COUNTED_TO = 10_000
"""Where a storage that can't count efficiently stops counting the instances of a queue."""

LONGEST_ARGUMENTS = 20_000
"""The maximum number of characters of an instance's arguments on a page."""


def moment(value: datetime.datetime, zone: datetime.tzinfo, now: datetime.datetime) -> str:
    """The shortest clear form: the time if it is today, otherwise with the date."""
    local, today = value.astimezone(zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    if abs(value - now) < datetime.timedelta(days=300):
        return f"{local:%a %d %b %H:%M}"
    return f"{local:%Y-%m-%d %H:%M}"


def whole_moment(value: datetime.datetime, zone: datetime.tzinfo) -> str:
    """With the date and seconds."""
    return f"{value.astimezone(zone):%a %Y-%m-%d %H:%M:%S}"


def elsewhere(value: datetime.datetime, zone: datetime.tzinfo) -> str:
    """The same moment in the task's timezone, if that differs from the viewer's; otherwise empty."""
    if value.tzinfo is datetime.UTC or value.utcoffset() == value.astimezone(zone).utcoffset():
        return ""
    return f"{value:%a %H:%M} {_zone_name(value)}"


def _zone_name(value: datetime.datetime) -> str:
    return str(getattr(value.tzinfo, "key", None) or value.tzname() or "")


def number(value: float | Count) -> str:
    """With thousands separators. An estimate is marked, and so is a lower bound, where the storage stopped counting."""
    if isinstance(value, Count):
        mark = "" if value.exact else "+" if value.value % COUNTED_TO == 0 else "~"
        return f"{value.value:,}+" if mark == "+" else f"{mark}{value.value:,}"
    return f"{value:,.0f}"


def short_number(value: float) -> str:
    """``42``, ``1.2 k``, ``3.4 M``: a count or an estimate, for narrow columns."""
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(max(1, round(value)) if value else 0)


def as_json(value: Mapping[str, Any]) -> str:
    """Arguments as indented JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) <= LONGEST_ARGUMENTS else f"{text[:LONGEST_ARGUMENTS]}…"


def iso(value: datetime.datetime) -> str:
    """In ISO format, for programs."""
    return value.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def schedule_of(task: Task) -> str:
    """The schedule in words."""
    return schedule_in_words(task)


ENVIRONMENT = Environment(
    loader=PackageLoader("pyncette_dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters.update(
    {
        "as_json": as_json,
        "clean": clean,
        "elsewhere": elsewhere,
        "iso": iso,
        "moment": moment,
        "number": number,
        "relative": relative,
        "schedule_of": schedule_of,
        "short_number": short_number,
        "span": span,
        "whole_moment": whole_moment,
    }
)


def compile_templates() -> None:
    """Compile all templates, so that no page has to wait for its own."""
    for name in ENVIRONMENT.list_templates():
        ENVIRONMENT.get_template(name)
