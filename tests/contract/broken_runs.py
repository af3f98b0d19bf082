"""Stores with faults in their log of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from pyncette.memory import MemoryRepository
from pyncette.record import Change, RunLine, RunQuestion, Swap
from pyncette.repository import Repository
from pyncette.testing import Capabilities
from tests.contract.broken import caught_by

Store = TypeVar("Store", bound=type[Repository])


def with_log_caught_by(*tests: str) -> Callable[[Store], Store]:
    return caught_by(*tests, capabilities=Capabilities(keeps_runs=True))


@with_log_caught_by("test_runs_of_an_empty_log")
class SaysThatItHasNone(MemoryRepository):
    keeps_runs = False


@caught_by("test_runs_of_an_empty_log", "test_prune_runs")
class DoesNotSayThatItHasOne(MemoryRepository):
    pass


# Appending


@with_log_caught_by("test_a_conflict_appends_no_run", "test_race_of_runs")
class AppendsBeforeItKnows(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        self._runs.update({(one.run.ended_at, one.run.id): one.run for one in changes if one.run})
        return await super().swap(changes)


@with_log_caught_by("test_a_run_is_appended_with_its_change")
class ForgetsRunsOfDeletions(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap([one if one.new else replace(one, run=None) for one in changes])


@with_log_caught_by("test_a_run_is_appended_with_its_change")
class ForgetsRunsOfInserts(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap([one if one.old else replace(one, run=None) for one in changes])


@with_log_caught_by("test_a_run_that_is_appended_again")
class AppendsAgain(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        taken = {run.id for run in self._runs.values()}
        again = [
            replace(one, run=replace(one.run, id=f"{one.run.id} again")) if one.run and one.run.id in taken else one
            for one in changes
        ]
        return await super().swap(again)


@with_log_caught_by("test_a_run_that_is_appended_again")
class RefusesWhatItHas(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        known = {run.id for run in self._runs.values()}
        return [
            Swap.CONFLICT if one.run and one.run.id in known else (await super(RefusesWhatItHas, self).swap([one]))[0]
            for one in changes
        ]


@with_log_caught_by("test_runs_are_seen_by_others", "test_runs_newest_first")
class DropsTheRunsOfAKeyWithItsRecord(MemoryRepository):
    """Deletes the lines of an instance together with its record."""

    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        swaps = await super().swap(changes)
        for change in changes:
            lines = [(place, run) for place, run in self._runs.items() if run.key == change.ref.key]
            for place, _ in lines if change.new is None else ():
                del self._runs[place]
        lines = list(self._runs.items())
        for place, run in lines:
            if any(other.key == run.key and at > place for at, other in lines):
                del self._runs[place]
        return swaps


@with_log_caught_by("test_every_value_of_a_run_comes_back")
class CutsTexts(MemoryRepository):
    async def swap(self, changes: Sequence[Change]) -> list[Swap]:
        return await super().swap(
            [replace(one, run=one.run and replace(one.run, text=one.run.text[:500])) for one in changes]
        )


# Questions


class Asked(MemoryRepository):
    """Changes a question before it is answered."""

    def understood(self, question: RunQuestion) -> RunQuestion:
        raise NotImplementedError

    async def runs(self, question: RunQuestion) -> list[RunLine]:
        return await super().runs(self.understood(question))


QUESTIONS = "test_runs_by_task_instance_outcome_and_time"


@with_log_caught_by(QUESTIONS)
class ForgetsTheQueues(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, queues=None)


@with_log_caught_by(QUESTIONS)
class TakesNoQueuesForAll(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, queues=question.queues or None)


@with_log_caught_by(QUESTIONS)
class ForgetsTheKey(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, key=None)


@with_log_caught_by(QUESTIONS)
class TakesTheFirstOutcome(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, outcomes=question.outcomes and question.outcomes[:1])


@with_log_caught_by(QUESTIONS)
class SinceIsExclusive(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, since=question.since + 1)


@with_log_caught_by(QUESTIONS)
class BeforeIsInclusive(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, before=question.before + 1)


@with_log_caught_by("test_runs_by_their_text")
class SearchesWithoutCase(MemoryRepository):
    async def runs(self, question: RunQuestion) -> list[RunLine]:
        found = await super().runs(replace(question, limit=1000, containing=None))
        wanted = (question.containing or "").lower()
        return [one for one in found if wanted in one.text.lower()][: question.limit]


@with_log_caught_by("test_runs_by_their_text")
class SearchesByPattern(MemoryRepository):
    async def runs(self, question: RunQuestion) -> list[RunLine]:
        parts = (question.containing or "").split("%")
        found = await super().runs(replace(question, limit=1000, containing=None))
        return [one for one in found if all(part in one.text for part in parts)][: question.limit]


@with_log_caught_by("test_runs_newest_first", QUESTIONS)
class OldestFirst(MemoryRepository):
    async def runs(self, question: RunQuestion) -> list[RunLine]:
        return (await super().runs(replace(question, limit=1000)))[::-1][: question.limit]


@with_log_caught_by("test_runs_newest_first")
class SkipsTheSameMoment(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, after=question.after and (question.after[0], ""))


@with_log_caught_by("test_runs_newest_first")
class RepeatsTheSameMoment(Asked):
    def understood(self, question: RunQuestion) -> RunQuestion:
        return replace(question, after=question.after and (question.after[0], "~"))


@with_log_caught_by("test_runs_newest_first")
class PagesByPosition(MemoryRepository):
    async def runs(self, question: RunQuestion) -> list[RunLine]:
        found = await super().runs(replace(question, limit=1000, after=None))
        asked = self.__dict__.setdefault("asked", {})
        start = asked.get(question.after, 0) if question.after else 0
        page = found[start : start + question.limit]
        if page:
            asked[page[-1].ended_at, page[-1].id] = start + len(page)
        return page


# Pruning


@with_log_caught_by("test_prune_runs")
class PrunesAll(MemoryRepository):
    async def prune_runs(self, *, before: int, limit: int) -> int:
        return await super().prune_runs(before=before, limit=10_000)


@with_log_caught_by("test_prune_runs")
class PrunesTheMomentItself(MemoryRepository):
    async def prune_runs(self, *, before: int, limit: int) -> int:
        return await super().prune_runs(before=before + 1, limit=limit)


@with_log_caught_by("test_prune_runs")
class PrunesTheNewest(MemoryRepository):
    async def prune_runs(self, *, before: int, limit: int) -> int:
        places = [place for place in self._runs if place[0] < before]
        for place in (chosen := places[::-1][:limit]):
            del self._runs[place]
        return len(chosen)


@with_log_caught_by("test_prune_runs")
class PrunesNothing(MemoryRepository):
    async def prune_runs(self, *, before: int, limit: int) -> int:
        return 0
