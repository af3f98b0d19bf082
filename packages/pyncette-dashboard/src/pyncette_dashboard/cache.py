"""What the dashboard knows of the storage: a cache shared by all viewers, with a budget for queries."""

from __future__ import annotations

import datetime
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
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
"""Queries per second, however many viewers there are."""

RESERVE = 100.0
"""Queries that may be sent at once after a quiet time, as the first page that someone opens needs several."""

ACTED = 10.0
"""Additional queries that each action of an operator allows, so that its result shows at once."""

AT_ONCE = 4
"""The maximum number of concurrent questions."""

MOST = 2000
"""The maximum number of answers kept."""

TIMEOUT = 10.0
"""Seconds that a question may take."""

GLANCE = 0.05
"""Seconds that a page waits for a fresh answer if it has an older one."""

PROBE = 1.0
"""Seconds between two questions while the storage does not answer."""

TROUBLES = (RepositoryException, OSError, TimeoutError)
"""The errors of a question if the storage does not answer."""

_asked: ContextVar[list[int]] = ContextVar("pyncette_dashboard_asked")


class QueryCounter(Observer):
    """Counts the dashboard's queries, even if they share a context with an app that sends others."""

    def operation_started(self, event: OperationStarted, /) -> None:
        counted = _asked.get(None)
        if counted is not None:
            counted[0] += 1


class Unreachable(Exception):
    """The storage is not responding, and there is no earlier answer."""


class BudgetExhausted(Unreachable):
    """The budget for queries is exhausted, so a page did not get its turn in time."""


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """Something to ask the storage.

    :ivar key: viewers with the same key share the answer.
    :ivar every: seconds for which an answer stays fresh.
    :ivar costs: the expected number of queries until the first answer shows the real one; 0 if it sends none.
    """

    key: Hashable
    ask: Callable[[], Awaitable[T]]
    every: float = 2.0
    costs: int = 1


@dataclass(frozen=True, slots=True)
class Trouble:
    """The storage is not responding.

    :ivar since: when this began.
    :ivar error: the latest error.
    """

    since: datetime.datetime
    error: str


@dataclass(slots=True)
class Answer(Generic[T]):
    """What is known about one question.

    :ivar value: the answer; None while there is none.
    :ivar at: when it was given; None while there is none.
    :ivar costs: the number of queries that the last answer took; None while there is none.
    :ivar asked: when the question was last asked; outdated: whether something has changed since.
    :ivar asking: set when the question under way has been answered.
    """

    value: T | None = None
    at: datetime.datetime | None = None
    refused: Exception | None = None
    costs: int | None = None
    asked: float = -math.inf
    outdated: bool = False
    asking: anyio.Event | None = None


class Budget:
    """Limits the number of queries to a rate per second and a reserve.

    Within any ``seconds``, at most ``rate * seconds + reserve`` queries are sent, plus those that the last question
    takes beyond one. Each action of an operator adds :data:`ACTED`.
    """

    def __init__(self, rate: float = RATE, reserve: float = RESERVE) -> None:
        self._rate = rate
        self._reserve = reserve
        self._left = reserve
        self._at = anyio.current_time()
        self._line = anyio.Lock()

    @property
    def left(self) -> float:
        """Queries that may be sent now; negative if the last question took more than were left."""
        now = anyio.current_time()
        self._left = min(self._reserve, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    @property
    def has_queue(self) -> bool:
        """Whether pages wait for their turn."""
        return self._line.locked()

    def spend(self, questions: float) -> None:
        """Take note that this many queries are sent; a negative number gives back what was not needed."""
        self._left = min(self._reserve, self.left - questions)

    async def turn(self, questions: int) -> None:
        """Wait until a question of this many queries may be asked, and spend them."""
        async with self._line:
            if (left := self.left) <= 0:
                await anyio.sleep(-left / self._rate + 0.001)
            self.spend(questions)


class AnswerCache:
    """Answers, by question.

    :ivar trouble: None while the storage answers.
    :ivar asked: the number of questions asked so far.
    """

    def __init__(self, group: anyio.abc.TaskGroup) -> None:
        self.trouble: Trouble | None = None
        self.asked: int = 0
        self._group = group
        self._budget = Budget()
        self._at_once = anyio.Semaphore(AT_ONCE)
        self._answers: OrderedDict[Hashable, Answer[Any]] = OrderedDict()
        self._probed = -math.inf

    def begin(self, question: Question[T], *, must: bool = True) -> Answer[T]:
        """Ask without waiting for the answer, if the known one is too old and the budget allows.

        :param must: if there is no answer at all, ask as soon as the budget allows, even if it is exhausted now.
        """
        answer = self._answer(question.key)
        if answer.asking is None and self._may_ask(answer, question, must):
            answer.asking = anyio.Event()
            expected = question.costs if answer.costs is None else answer.costs
            probes = self.trouble is not None
            waits = expected > 0 and not probes and (self._budget.left <= 0 or self._budget.has_queue)
            if not waits:
                self._budget.spend(expected)
            self._group.start_soon(self._ask, answer, question.ask, expected, waits)
        return answer

    async def wait(self, answers: Iterable[Answer[Any]], seconds: float) -> None:
        """Wait until all questions under way have been answered, but no longer than this."""
        with anyio.move_on_after(seconds):
            for answer in answers:
                if answer.asking is not None:
                    await answer.asking.wait()

    async def get(self, question: Question[T]) -> Answer[T]:
        """The answer. Asks if the known one is too old.

        :raises Unreachable: there is no answer, and the storage is not responding.
        :raises LookupError, ValueError: raised by the question itself.
        """
        answer = self.begin(question)
        await self.wait([answer], TIMEOUT if answer.at is None else GLANCE)
        if answer.refused is not None:
            self._answers.pop(question.key, None)
            raise answer.refused
        if answer.at is None and self.trouble is not None:
            raise Unreachable(self.trouble.error)
        return answer

    async def fresh(self, question: Question[T]) -> T:
        """The value of the answer, for pages that can't do without it.

        :raises Unreachable: there is no answer, and the storage is not responding.
        """
        answer = await self.get(question)
        if answer.at is None:
            if self._budget.has_queue:
                raise BudgetExhausted(
                    "Many pages are being opened, and queries to the storage are limited: this page is waiting."
                )
            raise Unreachable("the storage has not responded yet")
        value: T = answer.value  # type: ignore[assignment] # None only if that is the answer
        return value

    def known(self, key: Hashable) -> Any:
        """The last answer; None if there is none."""
        answer = self._answers.get(key)
        return None if answer is None else answer.value

    def age(self, key: Hashable) -> float:
        """Seconds since the question was asked; infinite if it never was."""
        answer = self._answers.get(key)
        return math.inf if answer is None else anyio.current_time() - answer.asked

    def forget(self) -> None:
        """Mark all answers as outdated after an action, so that pages show its effect at once."""
        for answer in self._answers.values():
            answer.outdated = True
        self._budget.spend(-ACTED)

    def _answer(self, key: Hashable) -> Answer[Any]:
        answer = self._answers.setdefault(key, Answer())
        self._answers.move_to_end(key)
        while len(self._answers) > MOST:
            self._answers.popitem(last=False)
        return answer

    def _may_ask(self, answer: Answer[Any], question: Question[Any], must: bool) -> bool:
        now = anyio.current_time()
        if question.costs == 0:
            return answer.at is None or now - answer.asked >= question.every
        if self.trouble is not None:
            if now - self._probed < PROBE:
                return False
            self._probed = now
            return True
        if must and (answer.outdated or answer.at is None):
            return True
        due = answer.outdated or now - answer.asked >= question.every
        return due and self._budget.left > 0 and not self._budget.has_queue

    async def _ask(
        self, answer: Answer[Any], question: Callable[[], Awaitable[Any]], expected: int, waits: bool
    ) -> None:
        count = [0]
        _asked.set(count)
        try:
            if waits:
                await self._budget.turn(expected)
            async with self._at_once:
                answer.outdated = False
                answer.asked = anyio.current_time()
                with anyio.fail_after(TIMEOUT):
                    answer.value = await question()
            answer.at = datetime.datetime.now(datetime.UTC)
            answer.refused = None
            answer.costs = count[0]
            if self.trouble is not None and count[0]:
                logger.warning("The storage responds again.")
                self.trouble = None
        except TROUBLES as e:
            self._is_down(e)
        except (LookupError, ValueError) as e:
            answer.refused = e
        finally:
            self.asked += count[0]
            self._budget.spend(count[0] - expected)
            if answer.asking is not None:
                answer.asking.set()
                answer.asking = None

    def _is_down(self, error: Exception) -> None:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        if self.trouble is None:
            logger.warning("The storage is not responding: %s", said)
            self.trouble = Trouble(datetime.datetime.now(datetime.UTC), said)
            self._probed = anyio.current_time()
        else:
            self.trouble = Trouble(self.trouble.since, said)
