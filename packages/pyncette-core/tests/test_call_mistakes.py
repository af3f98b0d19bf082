"""Invalid arguments of calls are refused before anything is stored."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pyncette import Context, Pyncette

MINUTE = datetime.timedelta(minutes=1)
NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.anyio
async def test_flags_and_ids_of_calls_are_checked() -> None:
    app = Pyncette()

    @app.dynamic_task(interval=MINUTE)
    async def work(context: Context) -> None: ...

    no: Any = "no"
    number: Any = 5
    async with app.create() as context:
        await context.schedule_task(work, "a")
        past: dict[str, Any] = {"start": NOON - MINUTE, "end": NOON}
        calls: list[tuple[Callable[[], Awaitable[Any]], str]] = [
            (lambda: context.schedule_task(work, "b", paused=no), "paused is 'no': write True or False"),
            (lambda: context.schedule_task(work, "b", force=no), "force is 'no'"),
            (lambda: context.schedule_tasks(work, [], force=no), "force is 'no'"),
            (lambda: context.resume_task(work, "a", catch_up=no), "catch_up is 'no'"),
            (lambda: context.resume_task(work, catch_up=no), "catch_up is 'no'"),
            (lambda: context.resume_tasks(work, ["a"], catch_up=no), "catch_up is 'no'"),
            (lambda: context.recompute(work, dry_run=no), "dry_run is 'no'"),
            (lambda: context.backfill_task(work, "a", **past, dry_run=no), "dry_run is 'no'"),
            (lambda: context.backfill_task(work, "a", **past, confirm=no), "confirm is 'no'"),
            (lambda: context.backfill_task(work, "a", **past, backfill_id=number), "must be a string, not int"),
            (lambda: context.backfill_task(work, "a", **past, backfill_id=""), "has 0 characters; write 1 to 200"),
            (lambda: context.backfill_task(work, "a", **past, backfill_id="x" * 201), "has 201 characters"),
            (lambda: context.cancel_backfill(work, "a", number), "must be a string, not int"),
        ]
        for call, message in calls:
            with pytest.raises((TypeError, ValueError), match=message):
                await call()
        assert await context.get_task(work, "b") is None
        assert not await context.list_backfills(work, "a")


@pytest.mark.anyio
async def test_search_texts_are_checked(caplog: pytest.LogCaptureFixture) -> None:
    """Before it reaches the storage: some storages can't encode it, which would look like an outage."""
    app = Pyncette()

    @app.dynamic_task(interval=MINUTE)
    async def work(context: Context) -> None: ...

    number: Any = 5
    failed: Any = "failed"
    async with app.create() as context:
        calls: list[tuple[Callable[[], Awaitable[Any]], str]] = [
            (lambda: context.list_tasks(work, prefix="a\0"), "prefix is .*: NUL and lone surrogates"),
            (lambda: context.list_tasks(work, prefix="\ud800"), "prefix is .*: NUL and lone surrogates"),
            (lambda: context.list_tasks(work, prefix=number), "prefix must be a string, not int"),
            (lambda: context.runs(work, containing="a\0"), "containing is .*: NUL and lone surrogates"),
            (lambda: context.runs(work, containing="\udfff"), "containing is .*: NUL and lone surrogates"),
            (lambda: context.runs(work, containing=number), "containing must be a string, not int"),
            (lambda: context.runs(work, outcomes=failed), r"outcomes must be a list, not one text: write \['failed'\]"),
            (lambda: context.runs(None, "a"), "instance_name is 'a', but of no task"),
        ]
        for call, message in calls:
            with pytest.raises((TypeError, ValueError), match=message):
                await call()
        assert (await context.list_tasks(work, prefix="\U0010ffff")).tasks == []
    assert "The storage failed" not in caplog.text
