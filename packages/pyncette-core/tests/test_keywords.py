"""Which keywords are parameters, which are arguments, and which are refused, in declarations and in calls."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from pyncette import Context, Pyncette, Task
from pyncette._tasks.keywords import FOREIGN_WORDS, TASK_PARAMETERS
from pyncette._validation.suggest import near_miss

MINUTE = datetime.timedelta(minutes=1)
DECLARING = ["task", "dynamic_task", "partitioned_task"]


async def body(context: Context) -> None: ...


def declare(kind: str, **kwargs: Any) -> Task:
    more: dict[str, Any] = {"partition_count": 2} if kind == "partitioned_task" else {}
    task = getattr(Pyncette(), kind)(interval=MINUTE, **more, **kwargs)(body)
    assert isinstance(task, Task)
    return task


@pytest.mark.parametrize("kind", DECLARING)
@pytest.mark.parametrize(
    "word, ours",
    [
        ("retries", "retry=Retry(5)"),
        ("max_retries", "retry=Retry(5)"),
        ("max_instances", "concurrency=1"),
        ("tz", "timezone='Europe/Berlin'"),
        ("cron", "schedule='*/5 * * * *'"),
        ("crontab", "schedule='*/5 * * * *'"),
        ("every", "interval=timedelta(minutes=5)"),
        ("lease_timeout", "lease_duration=timedelta(seconds=…)"),
        ("misfire_grace_time", "max_lateness=timedelta(minutes=…)"),
        ("run_date", "execute_at=…"),
        ("acks_late", "execution_mode=ExecutionMode.AT_MOST_ONCE"),
    ],
)
def test_words_of_other_schedulers(kind: str, word: str, ours: str) -> None:
    with pytest.raises(TypeError) as e:
        declare(kind, **{word: 5})
    assert str(e.value).startswith(f"{word!r} is not a task parameter: write {ours}")
    assert str(e.value).endswith(f"If it is an argument of the task, write args={{'{word}': …}}.")
    assert declare(kind, args={word: 5}).extra_args == {word: 5}


def test_no_parameter_is_also_a_foreign_word() -> None:
    assert not FOREIGN_WORDS.keys() & {*TASK_PARAMETERS, "args"}
    parameters = {match for write in FOREIGN_WORDS.values() for match in re.findall(r"(\w+)=", write)}
    assert parameters <= {*TASK_PARAMETERS, "args", "days", "minutes", "seconds"}


def test_words_of_other_schedulers_are_arguments_of_an_instance() -> None:
    assert declare("dynamic_task").instantiate("x", retries=3).extra_args == {"retries": 3}


@pytest.mark.parametrize("word", ["self", "task"])
@pytest.mark.parametrize("kind", DECLARING)
def test_words_that_calls_need_where_a_task_is_declared(kind: str, word: str) -> None:
    with pytest.raises(TypeError, match=rf"^'{word}' can't be passed as a keyword.* write args={{'{word}': …}}"):
        declare(kind, **{word: 1})
    assert declare(kind, args={word: 1}).extra_args == {word: 1}


@pytest.mark.parametrize("word", ["self", "task", "name"])
async def test_words_that_calls_need_where_an_instance_is_scheduled(word: str) -> None:
    app = Pyncette()
    template = app.dynamic_task(interval=MINUTE)(body)
    given: Any = {word: 1}
    says = rf"^'{word}' can't be passed as a keyword.* write args={{'{word}': …}}"
    async with app.create() as context:
        with pytest.raises(TypeError, match=says):
            template.instantiate("x", **given)
        with pytest.raises(TypeError, match=says):
            await context.schedule_task(template, "x", **given)
        result = await context.schedule_tasks(template, [("x", given), ("y", {"args": given})])
        assert (result.done, [name for name, _ in result.refused]) == (1, ["x"])
        assert re.match(says, str(result.refused[0][1]))
        assert (await context.schedule_task(template, "x", args=given)).extra_args == given


async def test_parameters_of_the_call_are_not_arguments_of_an_instance() -> None:
    """In a bulk call, one instance's ``force`` would otherwise become an argument."""
    app = Pyncette()
    template = app.dynamic_task(interval=MINUTE)(body)
    async with app.create() as context:
        result = await context.schedule_tasks(template, [("x", {"force": True}), ("y", {"instance_name": "z"})])
    assert [str(e).partition(" can't")[0] for _, e in result.refused] == ["'force'", "'instance_name'"]


async def test_names_of_parameters_by_keyword() -> None:
    app = Pyncette()
    template = app.dynamic_task(interval=MINUTE)(body)
    async with app.create() as context:
        instance = await context.schedule_task(template, instance_name="x", force=True)
        await context.unschedule_task(task=template, instance_name="x")
        assert await context.get_task(task=instance) is None


async def test_policies_of_an_instance() -> None:
    app = Pyncette()
    template = app.dynamic_task(interval=MINUTE)(body)
    given: Any = {"lease_duration": MINUTE}
    async with app.create() as context:
        with pytest.raises(TypeError, match=r"'lease_duration' belongs to the template.*write args={'lease_duration'"):
            await context.schedule_task(template, "x", **given)


@pytest.mark.parametrize("keyword", ["partition_count", "partition_selector", "enabled_partitions"])
@pytest.mark.parametrize("kind", ["task", "dynamic_task"])
def test_partitions_of_a_task_without(kind: str, keyword: str) -> None:
    with pytest.raises(TypeError, match=rf"'{keyword}' is a parameter of @app.partitioned_task\(\)"):
        declare(kind, **{keyword: 2})


@pytest.mark.parametrize(
    "word, meant",
    [
        ("interva", "interval"),
        ("intrvl", "interval"),  # two edits of eight letters
        ("enable", "enabled"),
        ("enbled", "enabled"),
        ("nable", None),  # two edits of seven
        ("leaseduration", "lease_duration"),
        ("lease_durat", None),  # three edits
        ("username", None),
        ("game", None),
        ("same", None),
        ("names", "name"),
    ],
)
def test_near_misses_of_keywords(word: str, meant: str | None) -> None:
    assert near_miss(word, TASK_PARAMETERS) == meant


def test_enabled_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="enabled is 'no': write True or False"):
        declare("task", enabled="no")
