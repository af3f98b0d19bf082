"""Wrong arguments when a task is scheduled: type checkers report them, for one instance and in bulk."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator

from pyncette import Context, Pyncette, PyncetteContext, from_fixture

MINUTE = datetime.timedelta(minutes=1)
NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)

app = Pyncette()


class Connection: ...


@app.fixture()
async def database(app_context: PyncetteContext) -> AsyncIterator[Connection]:
    yield Connection()


@app.dynamic_task()
async def report(context: Context, user_id: int, since: datetime.date | None = None) -> None: ...


@app.dynamic_task()
async def other(context: Context, name: str) -> None: ...


@app.partitioned_task(partition_count=2)
async def crawl(context: Context, url: str, *, depth: int) -> None: ...


@app.dynamic_task()
async def untyped(context: Context) -> None: ...


@app.dynamic_task()
async def of_another_type(context: Context, name: str = from_fixture(database)) -> None: ...  # type: ignore[assignment]  # mistake


report.with_args()  # type: ignore[call-arg]  # mistake
report.with_args("5")  # type: ignore[arg-type]  # mistake
report.with_args(user_id="5")  # type: ignore[arg-type]  # mistake
report.with_args(user=5)  # type: ignore[call-arg]  # mistake
report.with_args(user_id=5, sinc=None)  # type: ignore[call-arg]  # mistake
report.with_args(user_id=5, since="2030-01-01")  # type: ignore[arg-type]  # mistake
[(f"user {n}", report.with_args(user=n), {"interval": MINUTE}) for n in range(9)]  # type: ignore[call-arg]  # mistake
report.with_args(5, None, 6)  # type: ignore[call-arg]  # mistake
crawl.with_args("https://example.com")  # type: ignore[call-arg]  # mistake
crawl.with_args("https://example.com", depth="2")  # type: ignore[arg-type]  # mistake
untyped.with_args(user_id=5)  # type: ignore[call-arg]  # mistake


async def schedule(context: PyncetteContext) -> None:
    await context.schedule_task(report, "ada", interval=MINUTE)  # type: ignore[arg-type]  # mistake
    await context.schedule_task(report, "ada", interval=MINUTE, user_id=5)  # type: ignore[arg-type]  # mistake
    await context.schedule_task(report.with_args(user_id="5"), "ada")  # type: ignore[arg-type]  # mistake
    await context.schedule_task(report.with_args(5), "ada", intervall=MINUTE)  # type: ignore[arg-type]  # mistake
    await context.trigger_task(report.with_args(), "ada")  # type: ignore[call-arg]  # mistake
    await context.trigger_tasks(report, [("ada", report.with_args("5"))])  # type: ignore[arg-type]  # mistake
    await context.get_task(report.with_args(5), "ada")  # type: ignore[arg-type]  # mistake
    await report(5)  # type: ignore[call-arg]  # mistake


async def in_bulk(context: PyncetteContext) -> None:
    await context.schedule_tasks(report, [("ada", report.with_args("5"))])  # type: ignore[arg-type, list-item]  # mistake
    # mypy does not find this one; at run time it is refused.
    others = [("ada", other.with_args("x"))]
    await context.schedule_tasks(report, others)  # pyright: ignore[reportArgumentType, reportCallIssue]  # mistake
    await context.schedule_tasks(report, [("ada", {"interval": MINUTE})])  # type: ignore[arg-type]  # mistake
