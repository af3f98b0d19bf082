"""What can be declared, and what is refused immediately."""

from __future__ import annotations

import datetime
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from croniter import CroniterError

from pyncette import Context, ExecutionMode, FailureMode, Pyncette, Task
from pyncette._tasks.partition import PartitionedTask
from pyncette.context import NextFunc
from pyncette.utils import with_heartbeat

MINUTE = datetime.timedelta(minutes=1)


async def body(context: Context) -> None: ...


def test_a_task_takes_its_name_from_the_function() -> None:
    task = Pyncette().task(interval=MINUTE)(body)
    assert (task.name, task.canonical_name, str(task)) == ("body", "body", "body")
    assert task.task_func is body
    assert task.parent_task is None


def test_one_function_under_several_names() -> None:
    app = Pyncette()
    first = app.task(name="first", interval=MINUTE)(body)
    second = app.dynamic_task(name="second")(first)
    third = app.task(name="third", schedule="* * * * *")(second)
    assert {task.task_func for task in (first, second, third)} == {body}


def test_attributes_of_a_task() -> None:
    task = Pyncette().task(
        schedule="0 0 * * *",
        timezone="Europe/Berlin",
        fast_forward=True,
        failure_mode=FailureMode.UNLOCK,
        lease_duration=MINUTE,
        enabled=False,
        colour="red",
    )(body)
    assert task.schedule == "0 0 * * *"
    assert task.timezone == "Europe/Berlin"
    assert task.interval is None
    assert task.execute_at is None
    assert task.fast_forward
    assert task.failure_mode is FailureMode.UNLOCK
    assert task.execution_mode is ExecutionMode.AT_LEAST_ONCE
    assert task.lease_duration == MINUTE
    assert not task.enabled
    assert task.extra_args == {"colour": "red"}


@pytest.mark.parametrize(
    "kwargs, says",
    [
        ({}, "schedule"),
        ({"schedule": "* * * * *", "interval": MINUTE}, "one of"),
        ({"interval": MINUTE, "timezone": "UTC"}, "timezone"),
        ({"interval": datetime.timedelta()}, "positive"),
        ({"interval": -MINUTE}, "positive"),
        ({"schedule": "0 0 30 2 *"}, "0 0 30 2"),
        ({"schedule": "* * * * *", "timezone": "Atlantis/Capital"}, "Atlantis/Capital"),
        ({"execute_at": datetime.datetime.now(datetime.UTC)}, "dynamic_task"),
        ({"interval": MINUTE, "lease_duration": datetime.timedelta()}, "lease_duration must be positive"),
        ({"interval": MINUTE, "lease_duration": datetime.timedelta.max}, "lease_duration must be at most 1,000 years"),
        (
            {"interval": MINUTE, "failure_mode": FailureMode.COMMIT, "execution_mode": ExecutionMode.AT_MOST_ONCE},
            "failure_mode has no meaning",
        ),
        ({"interval": MINUTE, "payload": object()}, "payload"),
        ({"interval": MINUTE, "name": ""}, "No name"),
    ],
)
def test_declarations_that_are_refused(kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Pyncette().task(**kwargs)(body)


@pytest.mark.parametrize(
    "kwargs, says",
    [
        ({"interval": 5}, "timedelta"),
        ({"interval": MINUTE, "lease_duration": 60}, "lease_duration must be a timedelta"),
        ({"interval": MINUTE, "failure_mode": "unlock"}, "FailureMode.NONE or"),
        ({"interval": MINUTE, "execution_mode": 1}, "ExecutionMode.AT_LEAST_ONCE or"),
        ({"interval": MINUTE, "fast_forward": "yes"}, "True or False"),
        ({"interval": MINUTE, "name": 5}, "must be a string"),
        ({"interval": MINUTE, "args": 5}, "dictionary"),
        ({"interval": MINUTE, "args": {1: 2}}, "string keys"),
        ({"schedule": 5}, "schedule must be"),
        ({"schedule": "* * * * *", "timezone": 5}, "timezone must be"),
    ],
)
def test_values_of_a_wrong_type(kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        Pyncette().task(**kwargs)(body)


def test_an_invalid_cron_expression_is_croniters_error() -> None:
    with pytest.raises(CroniterError):
        Pyncette().task(schedule="61 * * * *")(body)


@pytest.mark.parametrize("kind", ["task", "dynamic_task", "partitioned_task"])
@pytest.mark.parametrize("keyword", ["lease_duraton", "shedule", "intervall", "failuremode", "nam", "time_zone"])
def test_misspelt_parameters(kind: str, keyword: str) -> None:
    more: dict[str, Any] = {"partition_count": 2} if kind == "partitioned_task" else {}
    with pytest.raises(TypeError, match=rf"'{keyword}' is not a task parameter; did you mean"):
        getattr(Pyncette(), kind)(interval=MINUTE, **{keyword: 1}, **more)


def test_arguments_of_any_name() -> None:
    task = Pyncette().task(interval=MINUTE, username="x", game=1, args={"lease_duraton": 2, "name": 3})(body)
    assert task.extra_args == {"username": "x", "game": 1, "lease_duraton": 2, "name": 3}


def test_an_argument_given_twice() -> None:
    with pytest.raises(TypeError, match="'a' is given twice"):
        Pyncette().task(interval=MINUTE, a=1, args={"a": 2})


def test_a_function_without_a_name() -> None:
    with pytest.raises(ValueError, match="No name found for the task"):
        Pyncette().task(interval=MINUTE)(functools.partial(body))


def test_decorating_something_that_is_not_a_function() -> None:
    with pytest.raises(TypeError, match="must be a function"):
        Pyncette().task(interval=MINUTE)("body")  # type: ignore[arg-type]  # the mistake under test


def test_generators() -> None:
    app = Pyncette()

    async def asynchronous(context: Context) -> AsyncIterator[None]:
        yield

    def synchronous(context: Context) -> Iterator[None]:
        yield

    async def around(context: Context, next: NextFunc) -> AsyncIterator[None]:
        yield

    for func in (asynchronous, synchronous):
        with pytest.raises(TypeError, match="leave its yield out"):
            app.task(interval=MINUTE)(func)
        with pytest.raises(TypeError, match="leave its yield out"):
            with_heartbeat()(func)
    with pytest.raises(TypeError, match=r"write await next\(\)"):
        app.use_middleware(around)  # type: ignore[arg-type]  # the mistake


async def test_passing_something_that_is_not_a_task() -> None:
    mistake: Any = body
    async with Pyncette().create() as context:
        for call in (
            lambda: context.schedule_task(mistake, "x", interval=MINUTE),
            lambda: context.schedule_tasks(mistake, []),
            lambda: context.unschedule_task(mistake, "x"),
            lambda: context.unschedule_tasks(mistake, []),
            lambda: context.get_task(mistake, "x"),
            lambda: context.list_tasks(mistake),
        ):
            with pytest.raises(TypeError, match=r"what @app.dynamic_task\(\) .* returned, not <function body"):
                await call()


def test_functions_that_take_other_arguments() -> None:
    app = Pyncette()

    async def no_context() -> None: ...

    async def two(context: Context, more) -> None: ...  # type: ignore[no-untyped-def]  # the mistake under test

    async def one(context: Context) -> None: ...

    with pytest.raises(TypeError, match=r"can't be called with context .*: write def no_context\(context\)"):
        app.task(interval=MINUTE)(no_context)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="The argument 'more' of the task 'two' has no type: write more: int"):
        app.task(interval=MINUTE)(two)
    with pytest.raises(TypeError, match=r"write def one\(context, next\)"):
        app.middleware(one)  # type: ignore[type-var]  # the mistake under test
    with pytest.raises(TypeError, match=r"write def no_context\(app_context\)"):
        app.fixture()(no_context)  # type: ignore[type-var]  # the mistake under test
    with pytest.raises(TypeError, match="must be an async generator"):
        app.use_fixture("one", one)  # type: ignore[arg-type]  # the mistake under test
    app.task(interval=MINUTE)(print)  # accepts any arguments


def test_decorators_without_parentheses() -> None:
    app = Pyncette()
    for name in ("task", "dynamic_task", "fixture"):
        with pytest.raises(TypeError, match=rf"Write @app.{name}\(\), with parentheses"):
            getattr(app, name)(body)
    with pytest.raises(TypeError, match="keywords only"):
        app.task("* * * * *")  # type: ignore[arg-type]  # the mistake under test


def test_a_middleware_with_parentheses() -> None:
    with pytest.raises(TypeError, match=r"Write @app\.middleware, without parentheses"):
        Pyncette().middleware()


def test_names_are_unique() -> None:
    app = Pyncette()
    app.task(interval=MINUTE)(body)
    for declare in (app.task(interval=MINUTE), app.dynamic_task(), app.partitioned_task(partition_count=1)):
        with pytest.raises(ValueError, match="There is a task called 'body' already"):
            declare(body)


def test_a_template_name_may_not_end_in_a_colon() -> None:
    with pytest.raises(ValueError, match="may not end in ':'"):
        Pyncette().dynamic_task(name="a:")(body)
    assert Pyncette().task(name="a:", interval=MINUTE)(body).canonical_name == "a::"


def test_fixture_names() -> None:
    app = Pyncette()

    async def fixture(app_context: object) -> AsyncIterator[int]:
        yield 1

    for reserved in ("task", "args", "heartbeat", "app_context", "scheduled_at", "fencing_token", "__class__"):
        with pytest.raises(ValueError, match="reserved name"):
            app.use_fixture(reserved, fixture)
    app.fixture()(fixture)
    with pytest.raises(ValueError, match="There is a fixture called 'fixture' already"):
        app.fixture(name="fixture")(fixture)
    with pytest.raises(ValueError, match="No name found for the fixture"):
        app.fixture()(functools.partial(fixture))


@pytest.mark.parametrize(
    "kwargs, says",
    [
        ({"partition_count": 0}, "partition_count must be"),
        ({"partition_count": 10**9}, "partition_count must be a whole number of at most 100,000"),
        ({"partition_count": 2, "enabled_partitions": [2]}, "partitions are 0 to 1"),
    ],
)
def test_partitions_that_are_refused(kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Pyncette().partitioned_task(**kwargs)(body)


@pytest.mark.parametrize("kwargs", [{"partition_count": "2"}, {"partition_count": 2, "partition_selector": 5}])
def test_partition_parameters_of_a_wrong_type(kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be a"):
        Pyncette().partitioned_task(**kwargs)(body)


class TestInstances:
    @pytest.fixture
    def template(self) -> Task:
        return Pyncette().dynamic_task(schedule="0 12 * * *", timezone="Europe/Berlin", a=1, b=2)(body)

    def test_the_template_gives_the_defaults(self, template: Task) -> None:
        instance = template.instantiate("x", b=3)
        assert (instance.schedule, instance.timezone) == ("0 12 * * *", "Europe/Berlin")
        assert instance.extra_args == {"a": 1, "b": 3}
        assert instance.parent_task is template
        assert instance.name == "x"

    def test_an_instances_timezone_applies_to_the_templates_schedule(self, template: Task) -> None:
        assert template.instantiate("x", timezone="Asia/Tokyo").timezone == "Asia/Tokyo"

    def test_an_instances_schedule_uses_the_templates_timezone(self, template: Task) -> None:
        assert template.instantiate("x", schedule="@hourly").timezone == "Europe/Berlin"

    def test_an_interval_replaces_schedule_and_timezone(self, template: Task) -> None:
        instance = template.instantiate("x", interval=MINUTE)
        assert (instance.schedule, instance.interval, instance.timezone) == (None, MINUTE, None)

    def test_execute_at(self, template: Task) -> None:
        at = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
        assert template.instantiate("x", execute_at=at).execute_at == at

    def test_a_template_may_set_only_a_timezone(self) -> None:
        template = Pyncette().dynamic_task(timezone="Asia/Tokyo")(body)
        assert template.instantiate("x", schedule="@daily").timezone == "Asia/Tokyo"
        assert template.instantiate("x", interval=MINUTE).timezone is None
        with pytest.raises(ValueError, match="Nowhere"):
            Pyncette().dynamic_task(timezone="Nowhere")(body)

    @pytest.mark.parametrize(
        "keyword", ["lease_duration", "failure_mode", "execution_mode", "fast_forward", "enabled", "partition_count"]
    )
    def test_policies_are_the_templates(self, template: Task, keyword: str) -> None:
        given: Any = {keyword: 1}
        with pytest.raises(TypeError, match=f"'{keyword}' belongs to the template"):
            template.instantiate("x", **given)

    def test_misspelt(self, template: Task) -> None:
        with pytest.raises(TypeError, match="did you mean 'execute_at'"):
            template.instantiate("x", execut_at=5)

    def test_neither_has_a_schedule(self) -> None:
        with pytest.raises(ValueError, match="schedule"):
            Pyncette().dynamic_task()(body).instantiate("x")

    def test_only_templates_have_instances(self, template: Task) -> None:
        static = Pyncette().task(interval=MINUTE)(body)
        for task in (static, template.instantiate("x")):
            with pytest.raises(ValueError, match="is not a dynamic task"):
                task.instantiate("y", interval=MINUTE)

    def test_partitions(self) -> None:
        app = Pyncette()
        template = app.partitioned_task(partition_count=3, partition_selector=lambda count, name: len(name) % count)(
            body
        )
        assert isinstance(template, PartitionedTask)
        assert template.instantiate("ab", interval=MINUTE).canonical_name == "body:2:ab"
        template.enabled_partitions = [1]
        assert [partition.enabled for partition in template.partitions] == [False, True, False]
        template.enabled = False
        assert not any(partition.enabled for partition in template.partitions)
        with pytest.raises(ValueError, match="Set enabled_partitions"):
            template.partitions[0].enabled = False

    def test_a_selector_that_returns_an_invalid_partition(self) -> None:
        template = Pyncette().partitioned_task(partition_count=3, partition_selector=lambda count, name: 3)(body)
        with pytest.raises(ValueError, match="it must return a whole number from 0 to 2"):
            template.instantiate("x", interval=MINUTE)


def test_upcoming() -> None:
    task = Pyncette().task(schedule="30 2 * * *", timezone="Europe/Berlin")(body)
    after = datetime.datetime(2026, 3, 28, 12, tzinfo=datetime.UTC)
    runs = task.upcoming(after)
    assert [next(runs).isoformat() for _ in range(2)] == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    with pytest.raises(ValueError, match="no schedule itself"):
        Pyncette().dynamic_task()(body).upcoming()


async def test_a_task_can_be_called_as_a_function() -> None:
    app, seen = Pyncette(), []

    @app.task(interval=MINUTE)
    async def coroutine(context: Context) -> None:
        seen.append(context)

    @app.task(interval=MINUTE)
    def plain(context: Context) -> None:
        seen.append(context)

    context = Context()
    await coroutine(context)
    await plain(context)
    assert seen == [context, context]
