"""Typical calls of users. Type checkers accept all of them, and infer these types."""

from __future__ import annotations

import datetime
import functools
from contextlib import AbstractAsyncContextManager
from typing import Any, TypedDict, assert_type

from pyncette import Context, ExecutionMode, FailureMode, PartitionedTask, Policies, Pyncette, PyncetteContext, Task
from pyncette.memory import memory_repository
from pyncette.sqlite import sqlite_repository
from pyncette.testing import ManualClock

MINUTE = datetime.timedelta(minutes=1)


class Address(TypedDict):
    street: str
    number: int


ADDRESS: Address = {"street": "Elm Street", "number": 7}

app = Pyncette(poll_interval=MINUTE, batch_size=50, concurrency_limit=10, drain_timeout=MINUTE, clock=ManualClock())
Pyncette("redis://localhost", redis_namespace="orders")
Pyncette(sqlite_repository, sqlite_database="orders.db")
Pyncette(repository_factory=functools.partial(sqlite_repository, sqlite_database="orders.db"))


@app.task(schedule="0 8 * * *", timezone="Europe/Berlin", lease_duration=MINUTE, recipients=["a", "b"], retry_of=None)
async def report(context: Context) -> None:
    assert_type(context.scheduled_at, datetime.datetime)
    assert_type(context.args, dict[str, Any])
    assert_type(await context.app_context.get_task(report) is None, bool)


@app.dynamic_task(failure_mode=FailureMode.UNLOCK, execution_mode=ExecutionMode.AT_LEAST_ONCE, args={"tz": "UTC"})
def remind(context: Context) -> None:
    print(context.args["tz"])


@app.partitioned_task(partition_count=4, enabled_partitions=[0, 1], interval=MINUTE, fast_forward=True)
async def crawl(context: Context) -> None: ...


assert_type(report, Task[[]])
assert_type(remind, Task[[]])
assert_type(crawl, PartitionedTask[[]])
assert_type(report.policies, Policies)
assert_type(report.policies.lease_duration, datetime.timedelta)
assert_type(report.policies.failure_mode, FailureMode)
assert_type(remind.instantiate("x", interval=MINUTE, address=ADDRESS, numbers=(1, 2.5)), Task)
assert_type(app.create(), AbstractAsyncContextManager[PyncetteContext])
app.create(clock=ManualClock(), repository_factory=memory_repository)
app.create(repository_factory="sqlite:///test.db", sqlite_table_name="test")


async def schedule(context: PyncetteContext) -> None:
    at = datetime.datetime.now(datetime.UTC) + MINUTE
    assert_type(await context.schedule_task(remind, "x", execute_at=at, username="x", address=ADDRESS), Task)
    await context.schedule_task(crawl, instance_name="x", force=True, schedule="@hourly", timezone="UTC")
    await context.schedule_task(remind, "x", interval=MINUTE, args={"name": "x", "task": 1, "self": None})
    pairs: list[tuple[str, dict[str, Any]]] = [("x", {"interval": MINUTE, "username": "x"})]
    assert_type((await context.schedule_tasks(remind, pairs)).done, int)
