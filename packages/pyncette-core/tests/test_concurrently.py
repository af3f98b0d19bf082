"""Concurrent calls of a storage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from pyncette._concurrency.background import concurrently


async def test_results_are_in_the_order_of_the_calls() -> None:
    running = most = 0

    async def call(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(7 - number):
            await anyio.lowlevel.checkpoint()
        running -= 1
        return number

    assert await concurrently([partial(call, number) for number in range(7)], at_once=3) == list(range(7))
    assert most == 3
    assert await concurrently(list[Callable[[], Awaitable[int]]](), at_once=3) == []


@pytest.mark.parametrize("at_once", [1, 3])
async def test_the_first_error_cancels_the_others_and_is_raised_unwrapped(at_once: int) -> None:
    begun: list[int] = []

    async def call(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise LookupError("says the test")
        if number > 2:
            await anyio.sleep_forever()

    with anyio.fail_after(10), pytest.raises(LookupError, match="says the test"):
        await concurrently([partial(call, number) for number in range(9)], at_once=at_once)
    assert len(begun) < 9
