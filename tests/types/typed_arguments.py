"""Ten typical tasks whose functions declare their arguments. Type checkers accept all of them, and infer these
types."""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from enum import Enum
from typing import Literal, NamedTuple, Protocol, assert_type

from pyncette import BoundTask, Context, PartitionedTask, Pyncette, PyncetteContext, Task, from_fixture

MINUTE = datetime.timedelta(minutes=1)
NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)

app = Pyncette()


class Currency(Enum):
    EURO = "EUR"
    POUND = "GBP"


class Money(NamedTuple):
    amount: Decimal
    currency: Currency


@dataclasses.dataclass
class Mail:
    kind: Literal["mail"]
    address: str


@dataclasses.dataclass
class Text:
    kind: Literal["text"]
    number: str


@dataclasses.dataclass
class Import:
    file: str
    columns: dict[str, str]
    skip: int = 0


class Connection: ...


@app.fixture()
async def database(app_context: PyncetteContext) -> AsyncIterator[Connection]:
    yield Connection()


@app.dynamic_task()
async def report(context: Context, user_id: int, language: str = "en") -> None: ...


@app.dynamic_task()
async def remind(context: Context, *, order: uuid.UUID, due: datetime.date) -> None: ...


@app.dynamic_task()
def charge(context: Context, customer: uuid.UUID, total: Money) -> None: ...


@app.dynamic_task()
async def notify(context: Context, to: Mail | Text, text: str) -> None: ...


@app.dynamic_task()
async def load(context: Context, what: Import, /) -> None: ...


@app.partitioned_task(partition_count=4)
async def crawl(context: Context, url: str, depth: int = 3, headers: dict[str, str] | None = None) -> None: ...


@app.dynamic_task()
async def expire(context: Context, session_id: str, connection: Connection = from_fixture(database)) -> None:
    assert_type(connection, Connection)


@app.dynamic_task()
async def rotate(context: Context, keys: list[str], after: datetime.timedelta = MINUTE) -> None: ...


@app.task(interval=MINUTE, args={"older_than": datetime.timedelta(days=30)})
async def clean(context: Context, older_than: datetime.timedelta, dry_run: bool = False) -> None: ...


@app.dynamic_task()
async def untyped(context: Context) -> None: ...


class Report(Protocol):
    def __call__(self, user_id: int, language: str = ...) -> BoundTask: ...


class Remind(Protocol):
    def __call__(self, *, order: uuid.UUID, due: datetime.date) -> BoundTask: ...


@app.partitioned_task(partition_count=2)
async def by_position(context: Context, what: Import, /) -> None: ...


of_report: Report = report.with_args
of_remind: Remind = remind.with_args
assert_type(untyped, Task[[]])
assert_type(load, Task[[Import]])
assert_type(load.with_args, Callable[[Import], BoundTask[[Import]]])
assert_type(by_position, PartitionedTask[[Import]])
assert_type(from_fixture(database), Connection)


async def schedule(context: PyncetteContext) -> None:
    assert_type(await context.schedule_task(report.with_args(user_id=5), "ada", interval=MINUTE), Task)
    await context.schedule_task(report.with_args(5, language="de"), "ada", interval=MINUTE, if_exists="keep")
    await context.schedule_task(remind.with_args(order=uuid.uuid4(), due=NOON.date()), "7", execute_at=NOON)
    await context.schedule_task(charge.with_args(uuid.uuid4(), Money(Decimal("9.99"), Currency.EURO)), "8")
    await context.schedule_task(notify.with_args(to=Mail("mail", "ada@example.com"), text="tea"), "9", execute_at=NOON)
    await context.schedule_task(load.with_args(Import("orders.csv", {"a": "b"})), "10", execute_at=NOON)
    await context.schedule_task(crawl.with_args("https://example.com"), "11", interval=MINUTE, force=True)
    await context.schedule_task(expire.with_args(session_id="x"), "12", execute_at=NOON)
    await context.schedule_task(rotate.with_args(["a", "b"]), "13", interval=MINUTE, paused=True)
    await context.trigger_task(clean)
    await context.trigger_task(clean.with_args(older_than=MINUTE, dry_run=True))
    await context.trigger_task(report.with_args(user_id=6), "ada")
    await context.trigger_tasks(report, ["ada", ("bob", report.with_args(7))])
    await context.trigger_tasks(report, {"ada": report.with_args(7)})
    await context.schedule_task(untyped, "14", interval=MINUTE, anything=5)
    await context.schedule_task(untyped.with_args(), "14", interval=MINUTE)


async def in_bulk(context: PyncetteContext) -> None:
    day = datetime.timedelta(days=1)
    users = ((f"user {i}", report.with_args(user_id=i), {"interval": day}) for i in range(1000))
    await context.schedule_tasks(
        report, ((f"user {i}", report.with_args(user_id=i), {"interval": day}) for i in range(9))
    )
    await context.schedule_tasks(
        report, [("ada", report.with_args(user_id=1)), ("bob", report.with_args(2), {"paused": True})]
    )
    await context.schedule_tasks(report, users)
    await context.schedule_tasks(untyped, [("ada", {"interval": day, "anything": 5})])


async def by_any_name(context: PyncetteContext, task: Task) -> None:
    await context.schedule_task(task, "x", interval=MINUTE, user_id=5)
    await context.schedule_tasks(task, [("x", {"interval": MINUTE, "user_id": 5})])


async def directly(context: Context) -> None:
    await report(context, user_id=5)
    tasks: list[Task] = [report, remind, charge, crawl, clean, untyped]
    assert_type(tasks[0], Task)
