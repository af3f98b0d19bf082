"""What has happened to an instance, as versioned JSON text. Pure functions.

Only core reads it; storages keep it as it is. Fields that this version doesn't know are kept. The fields, in order:

* ``v``: version of the format
* ``fence``: the fencing token of the attempt that was settled last. It shows whether a settlement whose reply was lost
  is stored
* ``ok``: runs that succeeded
* ``runs``: the latest runs, oldest first: scheduled at, started after, took, attempts, outcome, worker, further fields
* ``past``: other totals, by outcome or by reason of skips; ``began``: occurrences with at least one attempt
* others: ``row``: consecutive failed runs; ``now``: attempts of the open run; ``window``: occurrences that were skipped
  ahead of their turn; ``moved``: the occurrence that was moved onto the schedule; ``why``: the reason of a pause;
  ``since``: when the pause began, if an execution was in progress; ``extra``: manual runs and backfills, see
  :mod:`pyncette._tasks.extra`

Usually a run has succeeded and there are no others: then the text is edited without being decoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from typing import Any

from .spec import LaterSpec

VERSION = 1

LONGEST_ERROR = 500
"""The maximum number of characters of an error's text."""

_HEAD = f'{{"v":{VERSION},"fence"'
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a run ended. Occurrences that were skipped together count as one run. Times are microseconds.

    :ivar scheduled_at: the occurrence; the first of several.
    :ivar started_at: when its first attempt began, as far as known; None if none did.
    :ivar ended_at: when it ended; None while an at-most-once run is in progress.
    :ivar attempts: how many attempts began.
    :ivar outcome: a :data:`pyncette.events.RunOutcome`, or ``running``.
    :ivar worker: the worker that executed it last, or decided its outcome.
    :ivar error: type and text of the last error, truncated.
    :ivar reason: why it was skipped or ended.
    :ivar last: the last of several skipped occurrences.
    :ivar count: number of occurrences.
    :ivar exact: False if ``count`` is a lower bound.
    :ivar lost: the workers whose attempts were lost.
    :ivar fence: the fencing token of an at-most-once run, which identifies it when its end is reported.
    """

    scheduled_at: int
    started_at: int | None
    ended_at: int | None
    attempts: int
    outcome: str
    worker: str
    error: str = ""
    reason: str = ""
    trigger: str = "schedule"
    run_id: str | None = None
    last: int | None = None
    count: int = 1
    exact: bool = True
    lost: tuple[str, ...] = ()
    fence: int | None = None


@dataclass(slots=True)
class Attempts:
    """The recorded attempts of the open run.

    :ivar due: the occurrence.
    :ivar ended: how many attempts have a recorded end.
    :ivar failed: how many of them count as failures.
    :ivar lost: how many of them were lost with their worker.
    :ivar first: when the first attempt began.
    :ivar lost_with: the workers that lost attempts, each once.
    :ivar error: the error of the last failed attempt.
    """

    due: int
    ended: int = 0
    failed: int = 0
    lost: int = 0
    first: int | None = None
    lost_with: list[str] = field(default_factory=list)
    error: str = ""


class State:
    """The decoded text."""

    __slots__ = ("fields", "past", "runs")

    def __init__(self, text: str) -> None:
        self.fields: dict[str, Any] = _decoded(text)
        self.past: dict[str, int] = _counts(self.fields.pop("past", None))
        runs = self.fields.pop("runs", None)
        self.runs: list[Any] = runs if isinstance(runs, list) else []

    @property
    def succeeded(self) -> int:
        return self.count("ok")

    @property
    def why(self) -> str | None:
        """Why the instance is paused, or will be once its execution has ended; None if it is not."""
        reason = self.fields.get("why")
        return reason if isinstance(reason, str) else None

    def count(self, name: str) -> int:
        """An integer field; 0 if it is missing."""
        value = self.fields.get(name, 0)
        return value if isinstance(value, int) else 0

    def text(self, fence: int) -> str:
        """The encoded text, to be stored after the attempt that was claimed with ``fence``."""
        fields = {key: value for key, value in self.fields.items() if key not in ("v", "fence", "ok")}
        head: dict[str, Any] = {"v": VERSION, "fence": fence, "ok": self.succeeded}
        counted = {name: n for name, n in self.past.items() if n}
        past = {"past": counted} if counted else {}
        return _JSON.encode({**head, "runs": self.runs, **past, **fields})

    def set(self, name: str, value: object) -> None:
        """Set a field, or remove it if the value is empty."""
        if value in (None, 0, "", ()):
            self.fields.pop(name, None)
        else:
            self.fields[name] = value

    def failures_in_a_row(self, outcome: str) -> int:
        """Count consecutive failed runs, given a run that ended in ``outcome``. A skip changes nothing."""
        if outcome == "failed":
            self.set("row", self.count("row") + 1)
        elif outcome == "succeeded":
            self.set("row", None)
        return self.count("row")

    def is_last_run(self, max_runs: int | None) -> bool:
        """Count an occurrence that has begun, if ``max_runs`` is set. Returns whether it was the last one."""
        if max_runs is None:
            return False
        self.past["began"] = self.past.get("began", 0) + 1
        return self.past["began"] >= max_runs

    def add(self, run: Run, keep: int) -> None:
        """Count a run that has ended (at most once: begun), and add it to the latest runs, limited to ``keep``."""
        self.tally(run.outcome, run.reason, run.count)
        self.runs = [*self.runs, _packed(run)][-keep:] if keep else []

    def tally(self, outcome: str, reason: str, count: int) -> None:
        """Add to the totals."""
        if outcome == "succeeded":
            self.fields["ok"] = self.succeeded + count
        elif outcome != "running":
            name = reason if outcome == "skipped" else outcome
            self.past[name] = self.past.get(name, 0) + count

    def latest(self) -> list[Run | None]:
        """The latest runs; None in place of one that can't be read."""
        return [_unpacked(packed) for packed in self.runs]

    def put(self, at: int, run: Run) -> None:
        """Replace one of :meth:`latest`, whose outcome was not final."""
        self.tally(run.outcome, run.reason, run.count)
        self.runs[at] = _packed(run)

    def is_open(self, due: int) -> bool:
        """Whether the occurrence at ``due`` must be executed, whatever else has come due: the end of an attempt is
        recorded, or it was dead and is being retried."""
        found = self.fields.get("now")
        return isinstance(found, dict) and found.get("due") == due

    def attempts(self, due: int, claimed: int) -> Attempts:
        """The recorded attempts of the occurrence at ``due``, which was claimed ``claimed`` times; empty if those
        recorded belong to another occurrence."""
        found = self.fields.get("now")
        if isinstance(found, dict) and found.get("due") == due:
            try:
                attempts = Attempts(**found)
                if 0 <= attempts.ended <= claimed and attempts.lost_with == list(map(str, attempts.lost_with)):
                    return attempts
            except TypeError:  # damaged
                pass
        return Attempts(due)

    def record_attempts(self, attempts: Attempts | None) -> None:
        """Record the attempts of the open run; None once it has ended."""
        if attempts is None:
            self.fields.pop("now", None)
        else:
            values = {name: getattr(attempts, name) for name in Attempts.__slots__}
            self.fields["now"] = {name: value for name, value in values.items() if value or name == "due"}


def after_success(
    text: str, fence: int, keep: int, *, scheduled_at: int, started_at: int, ended_at: int, attempts: int, worker: str
) -> str | None:
    """The text after a run that succeeded; None if more than the totals and the latest runs changes, so that the text
    has to be decoded.
    """
    run = (
        f'[{scheduled_at},{started_at - scheduled_at},{ended_at - started_at},{attempts},"succeeded",{_quoted(worker)}]'
    )
    if not text:
        return f'{_HEAD}:{fence},"ok":1,"runs":[{run if keep else ""}]}}'
    if not keep and text[:14] == _HEAD and text[-11:] == ',"runs":[]}':
        ok = text.find(',"ok":', 16)
        count = text[ok + 6 : -11]
        if ok > 0 and count.isdecimal() and text.find(",", 16) == ok:
            return f'{_HEAD}:{fence},"ok":{int(count) + 1},"runs":[]}}'
    runs = text.find(',"runs":[[', 16)
    ok = text.find(',"ok":', 16, runs)
    end = text.find("]]", runs)
    if text[:14] != _HEAD or ok < 0 or end < 0 or not keep or text.find("{", 16, end) > 0:
        return None  # for example, an error's text could contain anything
    tail = text[end + 2 :]
    if tail != "}" and (tail[:9] != ',"past":{' or tail.find("}") != len(tail) - 2):
        return None
    try:
        succeeded = int(text[ok + 6 : runs]) + 1
    except ValueError:
        return None
    since = runs + 9
    for _ in range(text.count("],[", runs, end) + 2 - keep):
        comma = text.find("],[", since, end)
        since = end + 1 if comma < 0 else comma + 2
    kept = text[since : end + 1]
    return f'{_HEAD}:{fence},"ok":{succeeded},"runs":[{kept}{"," if kept else ""}{run}]{tail}'


_quoted = lru_cache(maxsize=16)(json.dumps)


def last_settled(text: str) -> int | None:
    """The fencing token of the attempt that was settled last; None if none was.

    It proves that a settlement whose reply was lost was stored, even if another worker has claimed the record since.
    """
    fence = _decoded(text).get("fence")
    return fence if isinstance(fence, int) else None


def check_version(text: str) -> None:
    """:raises LaterSpec: a later version wrote it, so this version might misread it."""
    if not text or text.startswith(_HEAD):
        return
    version = _decoded(text).get("v")
    if isinstance(version, int) and version > VERSION:
        raise LaterSpec(f"written in format {version} of the state; this version of Pyncette reads format {VERSION}")


def is_later(text: str) -> bool:
    """Whether a later version wrote it."""
    try:
        check_version(text)
    except LaterSpec:
        return True
    return False


def starting_over(text: str) -> str:
    """The state of a completed instance that starts over: ``max_runs`` counts from 0 again."""
    if not text:
        return text
    state = State(text)
    state.record_attempts(None)
    state.past.pop("began", None)
    return state.text(state.count("fence"))


def latest_runs(text: str) -> list[Run]:
    """The latest runs, oldest first. Damaged ones are left out."""
    return [run for run in State(text).latest() if run is not None]


def totals(text: str) -> dict[str, int]:
    """The number of occurrences by outcome; skipped ones by reason."""
    state = State(text)
    return {"succeeded": state.succeeded, **{name: n for name, n in state.past.items() if name != "began"}}


def described(error: BaseException) -> str:
    """Type and text of an error, truncated. Works even if the error's ``__str__`` raises."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = "<exception str() failed>"  # as in tracebacks
    return cut(f"{name}: {text}" if text else name)


def cut(text: str) -> str:
    """The text, truncated to the stored length."""
    return text[:LONGEST_ERROR]


def _packed(run: Run) -> list[Any]:
    further = {name: value for name, default in _DEFAULTS.items() if (value := getattr(run, name)) != default}
    started = None if run.started_at is None else run.started_at - run.scheduled_at
    since = run.scheduled_at if run.started_at is None else run.started_at
    took = None if run.ended_at is None else run.ended_at - since
    packed = [run.scheduled_at, started, took, run.attempts, run.outcome, run.worker]
    return [*packed, further] if further else packed


def _unpacked(packed: Any) -> Run | None:
    try:
        scheduled_at, started, took, attempts, outcome, worker, *rest = packed
        started_at = None if started is None else scheduled_at + started
        ended_at = None if took is None else took + (scheduled_at if started_at is None else started_at)
        further = {name: value for name, value in (rest[0] if rest else {}).items() if name in _DEFAULTS}
        further["lost"] = tuple(further.get("lost", ()))
        return Run(
            scheduled_at=scheduled_at,
            started_at=started_at,
            ended_at=ended_at,
            attempts=attempts,
            outcome=outcome,
            worker=worker,
            **further,
        )
    except (TypeError, ValueError, AttributeError):
        return None


_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Run) if each.default is not MISSING}
"""The optional fields of a run, which are omitted if they have these values."""


def _counts(found: object) -> dict[str, int]:
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _decoded(text: str) -> dict[str, Any]:
    """All fields; none if the text is damaged."""
    try:
        fields = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}
