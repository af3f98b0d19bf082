"""What the dashboard knows of the storage: one cache for all viewers, which asks no more than it may."""

from __future__ import annotations

import datetime
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
import anyio.abc

from pyncette.errors import RepositoryException
from pyncette.events import OperationStarted
from pyncette.observer import Observer

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

RATE = 2.0
"""Questions a second, whatever the viewers."""

RESERVE = 100.0
"""Questions that may be asked at once after a time without any: a page that is opened first needs several."""

AT_ONCE = 4
"""Questions that are under way at the same time."""

MOST = 2000
"""Answers that are kept."""

PATIENCE = 10.0
"""Seconds that a question may take."""

GLANCE = 0.05
"""Seconds that a page waits for a fresh answer when it has an older one."""

PROBE = 1.0
"""Seconds between two questions while the storage does not answer."""

TROUBLES = (RepositoryException, OSError, TimeoutError)
"""What a question raises when the storage does not answer."""

_asked: ContextVar[list[int]] = ContextVar("pyncette_dashboard_asked")


class Tally(Observer):
    """Counts the questions that the dashboard asks: also within an app that asks others of its own."""

    def operation_started(self, event: OperationStarted, /) -> None:
        counted = _asked.get(None)
        if counted is not None:
            counted[0] += 1


class Unreachable(Exception):
    """The storage does not answer, and nothing is known from before."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The storage does not answer.

    :ivar since: since when.
    :ivar error: what it said last.
    """

    since: datetime.datetime
    error: str


@dataclass(slots=True)
class Answer(Generic[T]):
    """What is known about one question.

    :ivar value: the answer; None while there is none.
    :ivar at: when it was given; None while there is none.
    """

    value: T | None = None
    at: datetime.datetime | None = None
    refused: Exception | None = None
    asked: float = -math.inf
    outdated: bool = False
    asking: anyio.Event | None = None


class Budget:
    """How many queries may be sent: a number per second, and a reserve."""

    def __init__(self, rate: float = RATE, reserve: float = RESERVE) -> None:
        self._rate = rate
        self._reserve = reserve
        self._left = reserve
        self._at = anyio.current_time()

    @property
    def left(self) -> float:
        """Questions that may be asked now; below zero after pages that had to be answered."""
        now = anyio.current_time()
        self._left = min(self._reserve, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    def spend(self, questions: int) -> None:
        """This many were sent."""
        self._left = self.left - questions


class Board:
    """Answers, by question.

    :ivar trouble: None while the storage answers.
    :ivar asked: how many questions were asked so far.
    """

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self.trouble: Trouble | None = None
        self.asked: int = 0
        self._group = group
        self._budget = Budget()
        self._at_once = anyio.Semaphore(AT_ONCE)
        self._answers: OrderedDict[Hashable, Answer[Any]] = OrderedDict()
        self._probed = -math.inf

    async def get(
        self,
        key: Hashable,
        question: Callable[[], Awaitable[T]],
        *,
        every: float = 2.0,
        wait: float = PATIENCE,
        must: bool = True,
    ) -> Answer[T]:
        """What is known; asks if that is older than ``every`` seconds and there is budget.

        :param wait: seconds to wait for a first answer.
        :param must: ask for what is not known at all even if the budget is spent; later pages wait for that.
        :raises Unreachable: nothing is known, and the storage does not answer.
        :raises LookupError, ValueError: what the question raised.
        """
        answer = self._answer(key)
        if answer.asking is None and self._may_ask(answer, every, must):
            answer.asking = anyio.Event()
            self._group.start_soon(self._ask, answer, question)
        if answer.asking is not None:
            with anyio.move_on_after(wait if answer.at is None else min(wait, GLANCE)):
                await answer.asking.wait()
        if answer.refused is not None:
            self._answers.pop(key, None)
            raise answer.refused
        if answer.at is None and self.trouble is not None:
            raise Unreachable(self.trouble.error)
        return answer

    async def fresh(self, key: Hashable, question: Callable[[], Awaitable[T]], *, every: float = 2.0) -> T:
        """The answer alone, for pages that can't go without it.

        :raises Unreachable: nothing is known, and the storage does not answer.
        """
        answer = await self.get(key, question, every=every)
        if answer.at is None:
            raise Unreachable("the storage has not answered yet")
        value: T = answer.value  # type: ignore[assignment] # None only if that is the answer
        return value

    def age(self, key: Hashable) -> float:
        """Seconds since the question was asked; infinite if it never was."""
        answer = self._answers.get(key)
        return math.inf if answer is None else anyio.current_time() - answer.asked

    def forget(self) -> None:
        """Something was changed from here: pages show it at once."""
        for answer in self._answers.values():
            answer.outdated = True

    def _answer(self, key: Hashable) -> Answer[Any]:
        answer = self._answers.setdefault(key, Answer())
        self._answers.move_to_end(key)
        while len(self._answers) > MOST:
            self._answers.popitem(last=False)
        return answer

    def _may_ask(self, answer: Answer[Any], every: float, must: bool) -> bool:
        now = anyio.current_time()
        if self.trouble is not None:
            if now - self._probed < PROBE:
                return False
            self._probed = now
            return True
        if answer.outdated:
            return must or self._budget.left > -RESERVE
        if answer.at is None and must:
            return True
        return now - answer.asked >= every and self._budget.left > 0

    async def _ask(self, answer: Answer[Any], question: Callable[[], Awaitable[Any]]) -> None:
        count = [0]
        _asked.set(count)
        answer.outdated = False
        try:
            async with self._at_once:
                answer.asked = anyio.current_time()
                with anyio.fail_after(PATIENCE):
                    answer.value = await question()
            answer.at = datetime.datetime.now(datetime.UTC)
            answer.refused = None
            if self.trouble is not None:
                logger.warning("The storage answers again.")
                self.trouble = None
        except TROUBLES as e:
            self._is_down(e)
        except (LookupError, ValueError) as e:
            answer.refused = e
        finally:
            self.asked += count[0]
            self._budget.spend(count[0])
            if answer.asking is not None:
                answer.asking.set()
                answer.asking = None

    def _is_down(self, error: Exception) -> None:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        if self.trouble is None:
            logger.warning("The storage does not answer: %s", said)
            self.trouble = Trouble(datetime.datetime.now(datetime.UTC), said)
            self._probed = anyio.current_time()
        else:
            self.trouble = Trouble(self.trouble.since, said)
