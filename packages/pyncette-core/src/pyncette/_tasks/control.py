"""The control record, by which operators control whole templates: one for all processes, as versioned JSON text. Pure.

Every poll reads it as well, so its content reaches all workers within two poll intervals, whatever the number of
instances. Fields that this version doesn't know are kept. Times are microseconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pyncette.errors import TooManyRunsException
from pyncette.record import HELD, Band, Record, Ref

T = TypeVar("T")

VERSION = 1

CONTROL = Ref(":control", ":control")
"""Where the record is: in a reserved queue, from which nothing is claimed."""

MAX_WINDOWS = 100
"""How many past pauses of a template are kept. What came due in older ones and is still waiting is executed."""

MAX_REQUESTED = 100
"""The maximum number of manual runs in the record."""

MAX_HELD = 50
"""The maximum number of them that are there only for lists, which leaves room for the others."""

_FIELDS = frozenset({"v", "paused", "windows", "partitions", "asked"})


@dataclass(frozen=True, slots=True)
class Pause:
    """A template's pause.

    :ivar since: when it began.
    :ivar reason: shown to operators.
    """

    since: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """A template was paused from ``since`` to ``until``; what came due in the meantime is skipped."""

    since: int
    until: int


@dataclass(frozen=True, slots=True)
class RequestedRun:
    """A requested manual run that can't be found otherwise: claims don't find it if the template is paused, and lists
    of dead, paused or completed instances don't find its instance while the run is waiting.

    :ivar queue, key: those of the instance.
    :ivar run_id: the id of the run.
    """

    queue: str
    key: str
    run_id: str

    @property
    def ref(self) -> Ref:
        return Ref(self.queue, self.key)


@dataclass(frozen=True, slots=True)
class Control:
    """The content of the record.

    :ivar paused: the current pauses, by the template's canonical name.
    :ivar windows: past pauses whose occurrences are skipped, oldest first.
    :ivar partitions: the partition count of each partitioned task.
    :ivar requested: manual runs that claims or lists don't find otherwise, oldest first.
    :ivar unknown: fields from a later version.
    """

    paused: Mapping[str, Pause] = field(default_factory=dict)
    windows: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    partitions: Mapping[str, int] = field(default_factory=dict)
    requested: tuple[RequestedRun, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def pause(self, template: str, *, now: int, reason: str) -> Control:
        """Pause a template. If it is paused already, only the reason changes."""
        since = self.paused[template].since if template in self.paused else now
        return replace(self, paused={**self.paused, template: Pause(since, reason)})

    def resume(self, template: str, *, now: int, catch_up: bool) -> Control:
        """Resume a template; changes nothing if it is not paused.

        :param catch_up: whether what came due in the meantime counts as missed, instead of being skipped.
        """
        pause = self.paused.get(template)
        if pause is None:
            return self
        paused = _without(self.paused, template)
        if catch_up:
            return replace(self, paused=paused)
        windows = (*self.windows.get(template, ()), Window(pause.since, now))
        return replace(self, paused=paused, windows={**self.windows, template: windows[-MAX_WINDOWS:]})

    def forget(self, template: str, *, before: int) -> Control:
        """Drop past pauses that ended before a moment, because nothing that came due in them is left."""
        left = tuple(window for window in self.windows.get(template, ()) if window.until > before)
        windows = _without(self.windows, template)
        return replace(self, windows={**windows, template: left} if left else windows)

    def partitioned(self, counts: Mapping[str, int]) -> Control:
        """Record the partition counts of templates, unless they are stored already."""
        return replace(self, partitions={**counts, **self.partitions})

    def request(self, template: str, run: RequestedRun, *, held: bool = False) -> Control:
        """Add a manual run, if the template is paused; otherwise workers find it like any other.

        :param held: whether to add it in any case, for lists, because its instance is dead, paused or completed.
        :raises TooManyRunsException: there are too many.
        """
        if run in self.requested or (template not in self.paused and not (held and len(self.requested) < MAX_HELD)):
            return self
        if len(self.requested) >= MAX_REQUESTED:
            raise TooManyRunsException(
                f"{MAX_REQUESTED} manual runs of instances of paused templates are already waiting. This one waits "
                f"until {template!r} is resumed."
            )
        return replace(self, requested=(*self.requested, run))

    def answered(self, runs: Iterable[RequestedRun]) -> Control:
        """Remove runs that have ended, or are gone."""
        gone = frozenset(runs)
        return replace(self, requested=tuple(run for run in self.requested if run not in gone))

    def purged(self, template: str, queues: Collection[str], *, partitioned: bool, other: bool) -> Control:
        """Remove everything about a template.

        :param queues: its queues.
        :param partitioned: whether these are partitions.
        :param other: whether there is another template of that name, to which the pauses apply as well.
        """
        requested = tuple(run for run in self.requested if run.queue not in queues)
        control = replace(self, requested=requested)
        if partitioned:
            control = replace(control, partitions=_without(self.partitions, template))
        if other:
            return control
        return replace(control, paused=_without(self.paused, template), windows=_without(self.windows, template))

    def pauses(self, template: str) -> list[tuple[int, int]]:
        """The pauses of a template, as pairs of begin and end; what came due in them is not executed. A current pause
        has no end."""
        found = [(window.since, window.until) for window in self.windows.get(template, ())]
        pause = self.paused.get(template)
        return found if pause is None else [*found, (pause.since, HELD)]

    def skipped_until(self, template: str, due_at: int) -> int | None:
        """The end of the past pause in which an occurrence came due; None if there was none."""
        for window in self.windows.get(template, ()):
            if window.since <= due_at < window.until:
                return window.until
        return None


def _without(mapping: Mapping[str, T], name: str) -> dict[str, T]:
    return {each: value for each, value in mapping.items() if each != name}


def encode(control: Control) -> str:
    fields: dict[str, Any] = {**control.unknown, "v": VERSION}
    if control.paused:
        fields["paused"] = {name: [pause.since, pause.reason] for name, pause in control.paused.items()}
    if control.windows:
        fields["windows"] = {name: [[w.since, w.until] for w in windows] for name, windows in control.windows.items()}
    if control.partitions:
        fields["partitions"] = dict(control.partitions)
    if control.requested:
        fields["asked"] = [[run.queue, run.key, run.run_id] for run in control.requested]
    return json.dumps(fields, separators=(",", ":"))


def decode(text: str) -> Control:
    """:raises ValueError: the text is damaged."""
    try:
        fields = json.loads(text)
        return Control(
            paused={name: Pause(int(since), str(reason)) for name, (since, reason) in fields.get("paused", {}).items()},
            windows={
                name: tuple(Window(int(since), int(until)) for since, until in windows)
                for name, windows in fields.get("windows", {}).items()
            },
            partitions={name: int(count) for name, count in fields.get("partitions", {}).items()},
            requested=tuple(
                RequestedRun(str(queue), str(key), str(run)) for queue, key, run in fields.get("asked", ())
            ),
            unknown={name: value for name, value in fields.items() if name not in _FIELDS},
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(f"The control record can't be decoded ({type(e).__name__}: {e}).") from e


def new_record(old: Record | None, control: Control, *, revision: str) -> Record:
    """The record that stores it. It is held, so that no claim takes it."""
    fence = old.fence if old else 0
    ready_at = Band.PAUSED.since
    return Record(CONTROL.queue, CONTROL.key, 0, ready_at, None, None, revision, fence, 0, encode(control))
