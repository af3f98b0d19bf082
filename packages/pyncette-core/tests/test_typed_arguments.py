"""Typed arguments, from the scheduling call to the execution."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from decimal import Decimal
from typing import Any, TypeVar

import anyio
import pytest

from pyncette import Context, ExecutionMode, FailureMode, OnExhausted, Pyncette, PyncetteContext, Retry, from_fixture
from pyncette.context import NextFunc
from pyncette.errors import ArgumentsException
from pyncette.memory import memory_repository
from pyncette.repository import Repository
from pyncette.testing import ManualClock
from pyncette.utils import with_heartbeat

FuncT = TypeVar("FuncT", bound=Callable[..., Any])

MINUTE = datetime.timedelta(minutes=1)
START = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.date(2030, 1, 31)


@dataclasses.dataclass
class Order:
    number: uuid.UUID
    total: Decimal


ORDER = Order(uuid.UUID(int=7), Decimal("1.50"))


class Harness:
    """An app in virtual time, and what its tasks have received."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.app = Pyncette(clock=self.clock)
        self.seen: list[Any] = []

    async def run(self, context: PyncetteContext, seconds: float = 1) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(context.run)
            await self.clock.advance(datetime.timedelta(seconds=seconds))
            context.shutdown()
            await self.clock.settle()


@pytest.fixture
def harness() -> Harness:
    return Harness()


async def test_everything_that_a_function_can_take(harness: Harness) -> None:
    app, seen = harness.app, harness.seen

    @app.fixture()
    async def database(app_context: PyncetteContext) -> AsyncIterator[str]:
        yield "database"

    @app.middleware
    async def note(context: Context, next: NextFunc) -> None:
        seen.append(context.args)
        await next()

    @app.dynamic_task()
    async def report(
        context: Context, order: Order, day: datetime.date = DAY, *, more: int = 1, db: str = from_fixture(database)
    ) -> None:
        seen.append((order, day, more, db, context.database))

    async with app.create() as context:
        await context.schedule_task(report.with_args(ORDER, more=2), "a", execute_at=START)
        await harness.run(context)
    raw = {"order": {"number": str(ORDER.number), "total": "1.50"}, "more": 2}
    assert seen == [raw, (ORDER, DAY, 2, "database", "database")]


@pytest.mark.parametrize("mode", ExecutionMode)
async def test_plain_functions_and_heartbeats(harness: Harness, mode: ExecutionMode) -> None:
    app, seen = harness.app, harness.seen

    @app.dynamic_task(execution_mode=mode)
    def plain(context: Context, order: Order, *, day: datetime.date = DAY) -> None:
        seen.append(("plain", order, day))

    @app.dynamic_task(execution_mode=mode)
    @with_heartbeat()
    def plain_with_heartbeat(context: Context, order: Order, /) -> None:
        seen.append(("heartbeat", order))

    @app.partitioned_task(partition_count=4, execution_mode=mode)
    @with_heartbeat()
    async def beating(context: Context, order: Order, day: datetime.date) -> None:
        seen.append(("beating", order, day))

    async with app.create() as context:
        await context.schedule_task(plain.with_args(ORDER), "a", execute_at=START)
        await context.schedule_task(plain_with_heartbeat.with_args(ORDER), "a", execute_at=START)
        await context.schedule_task(beating.with_args(ORDER, DAY), "a", execute_at=START)
        await harness.run(context)
    assert sorted(seen) == [("beating", ORDER, DAY), ("heartbeat", ORDER), ("plain", ORDER, DAY)]


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({}, "The task 'report' needs the argument 'user_id', which has no default: pass user_id=…"),
    ({"user_id": "5"}, "The argument user_id of 'report': it should be a valid integer, not str"),
    ({"user_id": True}, "The argument user_id of 'report': it should be a valid integer, not bool"),
    ({"user_id": 5, "userid": 5}, "The task 'report' has no argument 'userid': did you mean 'user_id'?"),
    ({"user_id": 5, "order": "x"}, "The argument order of 'report': it should be an object, not str"),
    ({"user_id": 5, "order": 5}, "The argument order of 'report': it should be an instance of Order, not int"),
    ({"user_id": 5, "order": {"number": "x", "total": "1"}}, r"The argument order\['number'\] of 'report': .*UUID"),
    ({"user_id": 5, "payload": START}, "The argument payload .* is of type datetime and would not arrive as it was"),
    ({"user_id": 5, "payload": (1, 2)}, "The argument payload .* is of type tuple and would not arrive as it was"),
    ({"user_id": 5, "payload": float("nan")}, "The argument payload .* would not arrive as it was"),
]


@pytest.mark.parametrize("args, message", MISTAKES)
async def test_invalid_calls(harness: Harness, args: dict[str, Any], message: str) -> None:
    @harness.app.dynamic_task(interval=MINUTE)
    async def report(context: Context, user_id: int, order: Order | None = None, payload: Any = None) -> None: ...

    async with harness.app.create() as context:
        anyhow: Any = report  # Any, because type checkers would report these mistakes
        with pytest.raises(TypeError, match=message):
            await context.schedule_task(anyhow, "a", **args)
        with pytest.raises(TypeError, match=message):
            await context.schedule_task(anyhow, "a", args=args)
        with pytest.raises(TypeError, match=message):
            await context.schedule_task(anyhow.with_args(**args), "a")
        wrong: Any = [("a", args), ("b", anyhow.with_args(**args)), ("c", anyhow.with_args(5), {"paused": True})]
        result = await context.schedule_tasks(anyhow, wrong)
        assert [name for name, _ in result.refused] == ["a", "b"]
        assert result.done == 1
        for _, error in result.refused:
            assert isinstance(error, TypeError)
            assert re.search(message, str(error))
        if args:
            with pytest.raises(TypeError, match=message):
                await context.trigger_task(anyhow, "c", args=args)
            assert [name for name, _ in (await context.trigger_tasks(anyhow, ["c"], args=args)).refused] == ["c"]
        assert await context.get_task(report, "a") is None


async def test_with_args_has_all_arguments(harness: Harness) -> None:
    @harness.app.dynamic_task(interval=MINUTE)
    async def report(context: Context, user_id: int, db: str = from_fixture("name")) -> None: ...

    @harness.app.dynamic_task(interval=MINUTE)
    async def other(context: Context, user_id: int) -> None: ...

    @harness.app.dynamic_task(interval=MINUTE)
    async def untyped(context: Context) -> None: ...

    @harness.app.fixture()
    async def name(app_context: PyncetteContext) -> AsyncIterator[str]:
        yield "name"

    async with harness.app.create() as context:
        anyhow: Any = untyped
        with pytest.raises(TypeError, match=r"has its arguments from with_args\(\): pass all"):
            await context.schedule_task(report.with_args(5), "a", user_id=5)
        with pytest.raises(TypeError, match="'db' of 'report' is filled from a fixture: leave it out"):
            await context.schedule_task(report.with_args(5, db="x"), "a")
        with pytest.raises(TypeError, match="The arguments of 'report' don't fit its function: too many positional"):
            await context.schedule_task(report.with_args(5, "x", "y"), "a")  # type: ignore[call-arg]  # the mistake
        with pytest.raises(TypeError, match="The function of 'untyped' declares no arguments"):
            await context.schedule_task(anyhow.with_args(5), "a")
        with pytest.raises(TypeError, match=r"takes no arguments of 'report': pass the task without with_args\(\)"):
            await context.get_task(report.with_args(5), "a")  # type: ignore[arg-type]  # the mistake
        await context.schedule_task(untyped.with_args(), "a")
        wrong: Any = [("a", other.with_args(5)), ("b", report.with_args(5), {"user_id": 6}), ("c", 5), "d"]
        result = await context.schedule_tasks(report, wrong)
        assert [(name, str(error)) for name, error in result.refused] == [
            ("a", "These are arguments of 'other': write report.with_args(…)."),
            ("b", "'user_id' is not a keyword of an instance: pass all arguments to with_args()."),
            ("c", "Not a pair of instance name and keywords, ('name', task.with_args(…), {…}): ('c', 5)."),
            ("d", "Not a pair of instance name and keywords, ('name', task.with_args(…), {…}): 'd'."),
        ]


async def test_runs_with_their_own_arguments(harness: Harness) -> None:
    app, seen = harness.app, harness.seen

    @app.dynamic_task(interval=MINUTE)
    async def report(context: Context, user_id: int, day: datetime.date = DAY) -> None:
        seen.append((context.trigger, user_id, day))

    async with app.create() as context:
        await context.schedule_task(report.with_args(5, DAY), "a")
        await context.trigger_task(report, "a", args={"user_id": 6})
        await context.trigger_task(report.with_args(7), "a")
        await context.trigger_tasks(report, [("a", report.with_args(8)), ("a", {"day": datetime.date.min})])
        await context.backfill_task(report, "a", START - 2 * MINUTE, START - MINUTE)
        await harness.run(context, 5)
    manual, backfill = "manual", "backfill"
    assert sorted(seen) == sorted(
        [
            (manual, 6, DAY),
            (manual, 7, DAY),
            (manual, 8, DAY),
            (manual, 5, datetime.date.min),
            *[(backfill, 5, DAY)] * 2,
        ]
    )


async def test_updates_are_checked_and_replace_all_arguments(harness: Harness) -> None:
    @harness.app.dynamic_task(interval=MINUTE, language="en")
    async def report(context: Context, language: str, user_id: int = 1) -> None:
        harness.seen.append((language, user_id))

    async with harness.app.create() as context:
        await context.schedule_task(report.with_args("de", 5), "a")
        with pytest.raises(TypeError, match="argument user_id"):
            await context.schedule_task(report.with_args("de", "x"), "a")  # type: ignore[arg-type]  # the mistake
        await context.schedule_task(report.with_args("fr"), "a")
        await harness.run(context, 61)
    assert harness.seen == [("fr", 1)]


async def test_arguments_are_imported_as_json(harness: Harness) -> None:
    @harness.app.dynamic_task()
    async def report(context: Context, order: Order) -> None:
        harness.seen.append(order)

    stored = {"order": {"number": str(ORDER.number), "total": "1.50"}}
    async with harness.app.create() as context:
        one = ("a", START, {"execute_at": START, "args": stored})
        two = ("b", START, {"execute_at": START, "args": {"order": {"number": "x"}}})
        result = await context.import_tasks(report, [one, two])
        assert [name for name, _ in result.refused] == ["b"]
        await harness.run(context)
    assert harness.seen == [ORDER]


EVOLVED: list[tuple[Any, str | None]] = []


def evolved(problem: str | None) -> Callable[[FuncT], FuncT]:
    def add(func: FuncT) -> FuncT:
        EVOLVED.append((func, problem))
        return func

    return add


async def old(context: Context, user_id: int, day: datetime.date) -> None: ...


@evolved(None)
async def new_with_default(context: Context, user_id: int, day: datetime.date, language: str = "en") -> None: ...


@evolved(None)
async def of_wider_type(context: Context, user_id: int | str, day: datetime.date | None) -> None: ...


@evolved("needs the argument 'language', which has no default")
async def new_without_default(context: Context, user_id: int, day: datetime.date, language: str) -> None: ...


@evolved("has no argument 'user_id': it declares day, user")
async def renamed(context: Context, user: int, day: datetime.date) -> None: ...


@evolved("has no argument 'day': it declares user_id")
async def removed(context: Context, user_id: int) -> None: ...


@evolved("The argument day of 'report': it should be a valid UUID")
async def of_other_type(context: Context, user_id: int, day: uuid.UUID) -> None: ...


@pytest.mark.parametrize("changed, problem", EVOLVED, ids=[func.__name__ for func, _ in EVOLVED])
async def test_arguments_change_under_stored_instances(
    harness: Harness, caplog: pytest.LogCaptureFixture, changed: Any, problem: str | None
) -> None:
    after = harness.app
    template: dict[str, Any] = {"retry": Retry(max_attempts=1), "on_exhausted": OnExhausted.HOLD}
    report: Any = after.dynamic_task(name="report", **template)(changed)

    @after.dynamic_task()
    async def other(context: Context) -> None:
        harness.seen.append("other")

    async with memory_repository() as repository:
        before = Pyncette(lambda: nullcontext(repository), clock=harness.clock)
        as_it_was = before.dynamic_task(name="report")(old)
        async with before.create() as context:
            await context.schedule_task(as_it_was.with_args(5, DAY), "a", interval=MINUTE)
        await _run_changed(harness, caplog, repository, (report, other), problem)


async def _run_changed(
    harness: Harness,
    caplog: pytest.LogCaptureFixture,
    repository: Repository,
    tasks: tuple[Any, Any],
    problem: str | None,
) -> None:
    report, other = tasks
    async with harness.app.create(repository_factory=lambda: nullcontext(repository)) as context:
        await context.schedule_task(other, "b", execute_at=START + 2 * MINUTE)
        with caplog.at_level(logging.WARNING):
            await harness.run(context, 121)
        state = await context.get_task(report, "a")
    assert state is not None
    assert harness.seen == ["other"]
    if problem is None:
        assert (state.state, [run.outcome for run in state.runs]) == ("waiting", ["succeeded", "succeeded"])
        assert not caplog.records
        return
    assert (state.state, [run.outcome for run in state.runs]) == ("dead", ["failed"])
    failed, dead = caplog.records
    assert failed.exc_info is not None
    assert isinstance(failed.exc_info[1], ArgumentsException)
    assert problem in str(failed.exc_info[1])
    assert "report:a is dead until" in dead.message
    assert "The stored arguments don't fit the function, as it is now. The" in dead.message


async def test_a_middleware_updates_old_arguments(harness: Harness) -> None:
    """The recipe from the documentation for a renamed argument."""

    @harness.app.middleware
    async def rename(context: Context, next: NextFunc) -> None:
        if "user" in context.args:
            context.args["user_id"] = context.args.pop("user")
        await next()

    @harness.app.dynamic_task(failure_mode=FailureMode.COMMIT)
    async def report(context: Context, user_id: int) -> None:
        harness.seen.append(user_id)

    async with harness.app.create() as context:
        untyped = Pyncette().dynamic_task(name="report")(lambda context: None)
        await context.schedule_task(untyped, "a", execute_at=START, user=5)
        await harness.run(context)
    assert harness.seen == [5]


async def test_a_function_is_called_directly() -> None:
    seen: list[Any] = []

    @Pyncette().dynamic_task()
    async def report(context: Context, user_id: int, db: str = from_fixture()) -> None:
        seen.append((user_id, db))

    context: Any = None
    await report(context, 5, db="fake")
    assert seen == [(5, "fake")]
