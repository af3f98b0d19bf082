"""Events as values, and the page that lists them."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import pickle
import re
import typing
from pathlib import Path
from typing import Any

import pytest

from pyncette import events
from pyncette.events import Event, RunEvent
from pyncette.observer import EVENTS, Observer

MINUTE = datetime.timedelta(minutes=1)
PAGE = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()
NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
RUN: dict[str, Any] = {"worker": "w:1", "task": "t", "instance": "i", "key": "t:i", "scheduled_at": NOON}
SAMPLES: list[Event] = [
    events.TickStarted(worker="w:1"),
    events.TickFinished(worker="w:1", duration=0.5),
    events.OperationStarted(worker="w:1", operation="claim", task="t"),
    events.OperationFinished(worker="w:1", operation="claim", task="t", duration=0.5),
    events.Claimed(worker="w:1", count=2, lag=0.5),
    events.BatchStored(worker="w:1", size=3),
    events.Sampled(worker="w:1", writes_overdue=False, beyond_lease=0, clock_offset=0.5),
    events.BulkStarted(worker="w:1", call="schedule_tasks", task="t"),
    events.BulkFinished(worker="w:1", call="schedule_tasks", task="t", done=3, refused=1, duration=0.5),
    events.AttemptStarted(**RUN, attempt=1, lag=0.5),
    events.AttemptRunning(**RUN, attempt=1, duration=30.0, fencing_token=7),
    events.AttemptEnded(**RUN, attempt=1, outcome="timed_out", lag=0.5, duration=2.0),
    events.LeaseLost(**RUN, attempt=1, fencing_token=7),
    events.RunEnded(**RUN, outcome="skipped", reason="late", attempts=0, last_scheduled_at=NOON + MINUTE, count=2),
]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_events_are_values(event: Event) -> None:
    again = pickle.loads(pickle.dumps(event))  # noqa: S301 -- our own value
    assert again == event
    assert hash(again) == hash(event)
    assert dataclasses.replace(event, worker="w:2") != event
    assert eval(repr(event), {**vars(events), "datetime": datetime}) == event  # noqa: S307 -- our own value
    assert not hasattr(event, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.worker = "other"  # type: ignore[misc]  # what is tested
    assert all(field.kw_only for field in dataclasses.fields(event))


def test_an_error_in_an_event_is_pickled() -> None:
    event = events.TickFinished(worker="w:1", duration=0.5, error=ZeroDivisionError("by zero"))
    again = pickle.loads(pickle.dumps(event))  # noqa: S301 -- our own value
    assert repr(again) == repr(event)


def test_every_event_has_a_method_and_a_sample() -> None:
    methods = {name: method for name, method in vars(Observer).items() if callable(method) and name[0] != "_"}
    assert {name: typing.get_type_hints(method)["event"] for name, method in methods.items()} == EVENTS
    assert [type(event) for event in SAMPLES] == list(EVENTS.values())
    concrete = {value for value in vars(events).values() if inspect.isclass(value) and issubclass(value, Event)}
    assert concrete - {Event, RunEvent} == set(EVENTS.values())


def test_the_page_lists_events_and_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([A-Z]\w+)` \| (.*?) ?\|", PAGE, re.MULTILINE)
    listed = {
        method: (event, [word.strip("` ") for word in fields.split(",") if word]) for method, event, fields in rows
    }
    run = [field.name for field in dataclasses.fields(RunEvent) if field.name != "worker"]
    expected = {}
    for method, event in EVENTS.items():
        fields = [field.name for field in dataclasses.fields(event) if field.name != "worker"]
        if issubclass(event, RunEvent):
            fields = ["run", *(field for field in fields if field not in run)]
        expected[method] = (event.__name__, fields)
    assert listed == expected
    [paragraph] = re.findall(r"(?s)Every event has.*?\n\n", PAGE)
    assert set(run) <= set(re.findall(r"`(\w+)`", paragraph))
