"""Observers: which are refused, which are notified, and what happens when they fail."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from pyncette import Context, Pyncette
from pyncette.events import AttemptEnded, AttemptStarted, Claimed, Event, TickStarted
from pyncette.observer import EVENTS, Observer, Observers, SamplingObserver
from pyncette.record import Record

MINUTE = datetime.timedelta(minutes=1)
RECORD = Record("q", "q", 1, 1, None, None, "r0", 0, 1, "{}")


class _Sample(Observer):
    """Overrides every method."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def _hear(self, event: Event, /) -> None:
        self.heard.append(event)

    tick_started = tick_finished = operation_started = operation_finished = claimed = batch_stored = _hear
    attempt_started = attempt_ended = lease_lost = run_ended = _hear


def test_a_new_field_breaks_no_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Later(TickStarted):
        weather: str = "fair"

    monkeypatch.setattr("pyncette.observer.TickStarted", Later)
    heard, observers = _Sample(), Observers()
    observers.add(heard)
    observers.tick_started()
    assert heard.heard == [Later(worker="")]


class _Ticks(Observer):
    def tick_started(self, event: TickStarted, /) -> None: ...


class _OldForm(Observer):
    def claimed(self, *, count: int, lag: float) -> None: ...  # type: ignore[override]  # what is refused


class _Asynchronous(Observer):
    async def claimed(self, event: Claimed) -> None: ...  # type: ignore[override]  # what is refused


class _Generator(Observer):
    def claimed(self, event: Claimed) -> Any:
        yield


class _NoArgument(Observer):
    def claimed(self) -> None: ...  # type: ignore[override]  # what is refused


class _TwoArguments(Observer):
    def claimed(self, event: Claimed, more: int) -> None: ...  # type: ignore[override]  # what is refused


class _NoMethod(Observer):
    claimed = 5  # type: ignore[assignment]  # what is refused


class _Misspelt(Observer):
    def tick_start(self, event: TickStarted) -> None: ...


class _Duck:
    def claimed(self, event: Claimed) -> None: ...


WRITE = r"write def claimed\(self, event: Claimed\) -> None"


@pytest.mark.parametrize(
    "observer, message",
    [
        (_OldForm(), "_OldForm.claimed must take the event as its only argument .*" + WRITE),
        (_NoArgument(), "only argument .*" + WRITE),
        (_TwoArguments(), "only argument .*'more'.*" + WRITE),
        (_Asynchronous(), "must be a plain method.*" + WRITE),
        (_Generator(), "must be a plain method.*" + WRITE),
        (_NoMethod(), "must be a method, not 5: " + WRITE),
        (_Misspelt(), "tick_start would never be called: write def tick_started"),
        (_Duck(), r"must derive from pyncette.observer.Observer, not _Duck: write class _Duck\(Observer\)"),
        (_Ticks, r"_Ticks is a class: write app.use_observer\(_Ticks\(\)\)"),
    ],
    ids=lambda value: None if isinstance(value, str) else getattr(value, "__name__", type(value).__name__),
)
def test_invalid_observers_are_refused(observer: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Pyncette().use_observer(observer)


def test_observers_may_have_helpers_and_lenient_signatures() -> None:
    class Lenient(Observer):
        ticks = 0

        def tick_started(self, *values: object, **more: object) -> None:
            self.report()

        @staticmethod
        def claimed(event: Claimed, verbose: bool = False) -> None: ...

        def report(self) -> None:
            self.ticks += 1

    observer, observers = Lenient(), Observers()
    observers.add(observer)
    observers.tick_started()
    observers.claimed(count=1, lag=0)
    assert observer.ticks == 1


def test_failures_are_logged_once_for_each_observer_and_event(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        def tick_started(self, event: TickStarted, /) -> None:
            raise ZeroDivisionError

        def claimed(self, event: Claimed, /) -> None:
            raise ZeroDivisionError

    heard, observers = _Sample(), Observers()
    for observer in (Broken(), Broken(), heard):
        observers.add(observer)
    for _ in range(3):
        observers.tick_started()
        observers.claimed(count=0, lag=0)
    assert len(caplog.records) == 4
    assert len(heard.heard) == 6


@pytest.mark.parametrize("method", ["takes", "took"])
def test_an_observer_whose_selection_fails(caplog: pytest.LogCaptureFixture, method: str) -> None:
    """It is logged once; that observer receives no attempts, but others do."""
    task = Pyncette().task(interval=MINUTE)(_body)

    class Broken(SamplingObserver):
        def attempt_started(self, event: AttemptStarted, /) -> None:
            reported.append(type(event))

        def attempt_ended(self, event: AttemptEnded, /) -> None:
            reported.append(type(event))

    def fail(self: Broken, *about: object) -> None:
        raise ZeroDivisionError

    setattr(Broken, method, fail)
    reported: list[type[Event]] = []
    heard, observers = _Sample(), Observers()
    observers.add(heard)
    observers.add(Broken())
    for _ in range(2):
        observers.attempt_started(task, RECORD, lag=0)
        observers.attempt_ended(task, RECORD, "succeeded")
    assert [type(event) for event in heard.heard].count(AttemptEnded) == 2
    assert reported == {"takes": [AttemptEnded] * 2, "took": [AttemptStarted] * 2}[method]
    assert len(caplog.records) == 1


def test_events_without_listeners_are_not_created(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for cls in EVENTS.values():
        monkeypatch.setattr(f"pyncette.observer.{cls.__name__}", lambda **_: made.append("event"))
    observers = Observers()
    assert not observers
    observers.add(Observer())
    assert not observers
    _say_everything(observers)
    observers.add(_Ticks())
    _say_everything(observers)
    assert made == ["event"]


async def _body(context: Context) -> None: ...


def _say_everything(observers: Observers) -> None:
    task, record = Pyncette().task(interval=MINUTE)(_body), RECORD
    observers.tick_started()
    observers.tick_finished(duration=0, error=None)
    observers.operation_started(operation="read", task_name="")
    observers.operation_finished(operation="read", task_name="", duration=0, error=None)
    observers.claimed(count=0, lag=0)
    observers.batch_stored(size=1)
    observers.attempt_started(task, record, lag=0)
    observers.attempt_ended(task, record, "released")
    observers.lease_lost(task, record)
    observers.attempt_lost(task, record, "host:1")
    observers.run_ended(task, record, "succeeded", scheduled_at=record.due_at, attempts=1)
