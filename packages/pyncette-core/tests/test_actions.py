"""The log of operators' actions in the storage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pyncette import Pyncette
from pyncette._tasks.action import ACTIONS, decode
from pyncette.record import Record
from pyncette.testing import ManualClock


async def test_newest_first_page_by_page() -> None:
    clock = ManualClock()
    async with Pyncette(clock=clock).create() as context:
        for number in range(5):
            await context.note_action("ada", "pause", task="report", instance=f"user {number}", detail=str(number))
            await clock.advance(timedelta(seconds=1))
        first = await context.actions(limit=3)
        rest = await context.actions(3, first.continuation_token)
        assert [action.detail for action in [*first.actions, *rest.actions]] == ["4", "3", "2", "1", "0"]
        assert rest.continuation_token is None
        last = first.actions[0]
        assert (last.who, last.what, last.task, last.instance) == ("ada", "pause", "report", "user 4")
        assert last.at == clock.time - timedelta(seconds=1)


async def test_actions_are_kept_for_three_months() -> None:
    clock = ManualClock()
    async with Pyncette(clock=clock).create() as context:
        await context.note_action("ada", "pause")
        await clock.advance(timedelta(days=89))
        await context.note_action("ada", "resume")
        assert [action.what for action in (await context.actions()).actions] == ["resume", "pause"]
        await clock.advance(timedelta(days=2))
        await context.note_action("ada", "trigger")
        assert [action.what for action in (await context.actions()).actions] == ["trigger", "resume"]


async def test_actions_do_not_show_up_as_a_task() -> None:
    async with Pyncette().create() as context:
        await context.note_action("ada", "login")
        assert await context.tasks() == []
        assert await context.orphans() == []


async def test_any_text_is_stored() -> None:
    async with Pyncette().create() as context:
        await context.note_action("\ud800\x00", "p" * 2000, task="a:b", instance=None, detail="“”\n")
        (action,) = (await context.actions()).actions
        assert (action.who, action.task, action.detail) == ("\ud800\x00", "a:b", "“”\n")
        assert len(action.what) == 1000


@pytest.mark.parametrize("fields", [{"who": None}, {"what": 7}, {"task": b"x"}, {"detail": None}])
async def test_other_types_than_strings_are_refused(fields: dict[str, Any]) -> None:
    async with Pyncette().create() as context:
        with pytest.raises(TypeError, match=f"{next(iter(fields))} must be a string"):
            await context.note_action(**{"who": "ada", "what": "pause", **fields})


async def test_a_continuation_token_of_another_list_is_refused() -> None:
    async with Pyncette().create() as context:
        with pytest.raises(ValueError, match=r"continuation token of actions"):
            await context.actions(continuation_token="report:user")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"v":1,"who":"ada"}'])
def test_damaged_actions_are_left_out(text: str) -> None:
    assert decode(Record(ACTIONS.name, "a", 0, 0, None, None, "r", 0, 0, text)) is None
