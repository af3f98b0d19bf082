"""Wrong calls. Type checkers must report each of them; otherwise they report an unused ignore."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import datetime
import functools

from pyncette import Context, ExecutionMode, FailureMode, Pyncette, PyncetteContext
from pyncette.sqlite import sqlite_repository

MINUTE = datetime.timedelta(minutes=1)
NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)

app = Pyncette()

# A misspelt policy is not accepted as an argument, as JSON can't represent its value.
app.task(interval=MINUTE, lease_duraton=MINUTE)  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, failure_mod=FailureMode.UNLOCK)  # type: ignore[arg-type]  # mistake
app.task(intervall=MINUTE)  # type: ignore[arg-type]  # mistake
app.dynamic_task(execution_moed=ExecutionMode.AT_MOST_ONCE)  # type: ignore[arg-type]  # mistake
app.partitioned_task(partition_count=2, leaseduration=MINUTE)  # type: ignore[arg-type]  # mistake

app.task(interval=MINUTE, lease_duration=60)  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, failure_mode="unlock")  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, execution_mode=FailureMode.NONE)  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, fast_forward="yes")  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, enabled="no")  # type: ignore[arg-type]  # mistake
app.task(interval=60)  # type: ignore[arg-type]  # mistake
app.task(schedule=5)  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, name=b"x")  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, args=["x"])  # type: ignore[arg-type]  # mistake
app.task(execute_at=NOON)  # type: ignore[arg-type]  # mistake
app.task(interval=MINUTE, payload=object())  # type: ignore[arg-type]  # mistake
app.task("* * * * *")  # type: ignore[arg-type]  # mistake
app.dynamic_task(execute_at="noon")  # type: ignore[arg-type]  # mistake
app.dynamic_task(timezone=datetime.UTC)  # type: ignore[arg-type]  # mistake
app.partitioned_task()  # type: ignore[call-arg]  # mistake
app.partitioned_task(partition_count="2")  # type: ignore[arg-type]  # mistake
app.partitioned_task(partition_count=2, partition_selector=lambda count: 1)  # type: ignore[arg-type]  # mistake
app.partitioned_task(partition_count=2, enabled_partitions=1)  # type: ignore[arg-type]  # mistake


@app.dynamic_task()
async def template(context: Context) -> None: ...


template.instantiate("x", lease_duration=MINUTE)  # type: ignore[arg-type]  # mistake
template.instantiate("x", interval=60)  # type: ignore[arg-type]  # mistake
template.instantiate(name="x", interval=MINUTE)  # type: ignore[call-arg]  # mistake


async def schedule(context: PyncetteContext) -> None:
    await context.schedule_task(template, "x", failure_mode=FailureMode.NONE)  # type: ignore[arg-type]  # mistake
    await context.schedule_task(template, "x", execute_at="noon")  # type: ignore[arg-type]  # mistake
    await context.schedule_task(template, "x", execut_at=NOON)  # type: ignore[arg-type]  # mistake
    await context.schedule_task(template, interval=MINUTE)  # type: ignore[call-arg]  # mistake
    await context.schedule_task("template", "x", interval=MINUTE)  # type: ignore[arg-type]  # mistake


Pyncette(repository_factory=5)  # type: ignore[arg-type]  # mistake
Pyncette(poll_interval=5)  # type: ignore[arg-type]  # mistake
Pyncette(batch_size="7")  # type: ignore[arg-type]  # mistake
Pyncette(concurrency_limit=None)  # type: ignore[arg-type]  # mistake
Pyncette(drain_timeout=30)  # type: ignore[arg-type]  # mistake
Pyncette(clock=datetime.UTC)  # type: ignore[arg-type]  # mistake
Pyncette(functools.partial(sqlite_repository, sqlite_databse="orders.db"))  # type: ignore[call-arg]  # mistake
Pyncette(functools.partial(sqlite_repository, sqlite_database=5))  # type: ignore[arg-type]  # mistake
app.create(clock=5)  # type: ignore[arg-type]  # mistake
app.create(poll_interval=5)  # type: ignore[arg-type]  # mistake
app.create().run()  # type: ignore[attr-defined]  # mistake
