"""Single faults to insert into the source of a correct store, by kind, and a command that counts those the suite
catches.

    python -m tests.contract.mutants

prints the result for each fault in this list and each store in ``broken_*.py``. The list names a test that catches each
fault, and ``test_catches.py`` checks that it does.
"""

from __future__ import annotations

import inspect
import io
import sys
import textwrap
import types
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

import pyncette.memory
import pyncette.repository
from pyncette.repository import Repository
from tests.contract.broken import Broken

READ = "return [self._records.get(ref.key) for ref in refs]"
KEEP = "self._records[new.key] = new\n"
RANGE = "index.irange((since,), (before,), (True, False))"
PAGE = "islice(self._range(queue, since, before, after), limit)"
LIST = "islice(takewhile(lambda key: key.startswith(prefix), keys), limit)"
NAMES = "sorted(name for name in self._by_key if after is None or name > after)[:limit]"
EQUAL = "if (None if stored is None else stored.revision) != (None if old is None else old.revision):"
COUNT = "return Count(max(value, 0), exact=True)"
WANTED = "wanted = min(each.limit, limit - len(found))"
BEFORE = "before = min(each.before, now + 1)"
MOMENTS = "for queue in queues:"
LOOK = "return Look(min(first, default=None), [self._records.get(ref.key) for ref in refs], None, moments)"
RUN = "if change.run is not None:"
PRUNE = "islice(self._runs.irange(maximum=(before,), inclusive=(True, False)), limit)"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault.

    :ivar old, new: the text to replace, which occurs once in the source of the store, and its replacement.
    :ivar caught_by: a test of the suite that must fail.
    """

    name: str
    kind: str
    old: str
    new: str
    caught_by: str

    def store(self) -> type[Repository]:
        source = reference()
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: the source has {source.count(self.old)} times {self.old!r}")
        module = types.ModuleType(f"pyncette.mutant_{self.name}")
        module.__dict__.update(__package__="pyncette", anyio=anyio)
        sys.modules[module.__name__] = module
        exec(compile(source.replace(self.old, self.new), module.__name__, "exec"), module.__dict__)  # noqa: S102 - ours
        store: type[Repository] = module.__dict__["MemoryRepository"]
        return store


def reference() -> str:
    """The source of the in-memory store, including the inherited ``claim``."""
    inherited = "\n" + textwrap.dedent(inspect.getsource(pyncette.repository.Repository.claim))
    whole = inspect.getsource(pyncette.memory)
    place = "\n    async def runs(self"
    imports = "from .repository import CLAIM_ATTEMPTS, QueueClaim, Repository, _left, lease\n"
    whole = whole.replace("from .repository import Repository\n", imports)
    inherited = inherited.replace(
        "    changes = [\n", "    await anyio.lowlevel.checkpoint()\n        changes = [\n", 1
    )
    whole = whole.replace(place, textwrap.indent(inherited, "    ") + place, 1)
    return whole + "\n\n" + inspect.getsource(pyncette.repository.ready_for)


def keeping(fields: str) -> str:
    return f"from dataclasses import replace\n        self._records[new.key] = replace(new, {fields})\n"


# ruff: noqa: E501 - one row is one fault
# fmt: off
MUTANTS = [
    Mutant(*row)
    for row in (
        # Wrong comparisons
        ("SinceIsExclusive", "comparison", RANGE, RANGE.replace("(since,)", "(since + 1,)"), "test_cancelled_writes_leave_the_index_right"),
        ("BeforeIsInclusive", "comparison", RANGE, RANGE.replace("(before,)", "(before + 1,)"), "test_ready_within_a_range"),
        ("AfterIsInclusive", "comparison", "irange(after, (before,), (False, False))", "irange(after, (before,), (True, False))", "test_many_of_one_moment"),
        ("AfterNeedsALaterMoment", "comparison", "if after is not None and after >= (since,):", "if after is not None and after[0] > since:", "test_ready_page_by_page"),
        ("RevisionsByTheirBeginning", "comparison", EQUAL, "if (None if stored is None else stored.revision[:1]) != (None if old is None else old.revision[:1]):", "test_race_of_claims"),
        ("RevisionsWithoutCase", "comparison", EQUAL, "if (None if stored is None else stored.revision.lower()) != (None if old is None else old.revision.lower()):", "test_swap_of_an_outdated_record_fails"),
        ("ScanRepeatsAKeyThatIsThePrefix", "comparison", "after >= prefix", "after > prefix", "test_scan_with_a_prefix"),
        ("InsertsOverWhatIsHeld", "comparison", EQUAL, "if not (old is None and new is not None and stored is not None and stored.ready_at >= HELD) and " + EQUAL[3:], "test_swap_does_not_insert_over_a_record"),
        ("CountIncludesBefore", "comparison", "index.bisect_left((before,))", "index.bisect_left((before + 1,))", "test_count"),
        ("CountExcludesSince", "comparison", "index.bisect_left((since,))", "index.bisect_left((since + 1,))", "test_count"),
        ("RunsExcludeSince", "comparison", "irange((question.since,), end,", "irange((question.since + 1,), end,", "test_runs_by_task_instance_outcome_and_time"),
        ("PruneIncludesBefore", "comparison", PRUNE, PRUNE.replace("(before,)", "(before + 1,)"), "test_prune_runs"),
        # Limits
        ("PagesHaveOneMore", "limit", PAGE, PAGE.replace("limit", "limit + 1"), "test_claim_within_limits_over_many_queues"),
        ("PagesHaveOneLess", "limit", PAGE, PAGE.replace("limit", "max(limit - 1, min(limit, 1))"), "test_claim_within_limits_over_many_queues"),
        ("ListsHaveOneMore", "limit", LIST, LIST.replace("limit", "limit + 1"), "test_scan_limits_a_page"),
        ("ListsHaveAHundred", "limit", LIST, LIST.replace("limit", "min(limit, 100)"), "test_claim_of_more_than_a_thousand"),
        ("NamesHaveOneLess", "limit", NAMES, NAMES.replace("[:limit]", "[: max(limit - 1, 1)]"), "test_queues_page_by_page"),
        ("NamesHaveNoLimit", "limit", NAMES, NAMES.replace("[:limit]", ""), "test_queues_page_by_page"),
        ("PruneDeletesOneMore", "limit", PRUNE, PRUNE.replace("limit", "limit + 1"), "test_prune_runs"),
        ("RunsHaveOneMore", "limit", "question.limit)", "question.limit + 1)", "test_a_run_is_appended_with_its_change"),
        ("ClaimsHaveOneMore", "limit", WANTED, WANTED.replace("len(found)", "len(found) + (len(found) > 3)"), "test_claim_within_limits_over_many_queues"),
        ("ClaimsHaveOneLess", "limit", WANTED, WANTED.replace("len(found)", "len(found) - (len(claims) > 1)"), "test_claim_within_limits_over_many_queues"),
        ("LimitOfTheFirstQueueForAll", "limit", WANTED, WANTED.replace("each.limit", "claims[0].limit"), "test_claim_within_limits_over_many_queues"),
        ("ClaimsStopAtAnEmptyQueue", "limit", "found += await repository.scan_ready(each.queue,", "if found and len(claims) > 30 and not await repository.scan_ready(each.queue, limit=1): break\n            found += await repository.scan_ready(each.queue,", "test_claim_of_many_queues"),
        # Fields
        ("DueIsReady", "field", KEEP, keeping("due_at=new.ready_at"), "test_cancelled_claim"),
        ("FencesOf53Bits", "field", KEEP, keeping("fence=min(new.fence, 2**53)"), "test_claim_writes_what_the_state_machine_says"),
        ("AttemptsOf15Bits", "field", KEEP, keeping("attempt=min(new.attempt, 32767)"), "test_due_and_claim_give_every_value"),
        ("EmptyHolderIsNone", "field", KEEP, keeping("locked_by=new.locked_by or None"), "test_swap_updates"),
        ("EndOfLeaseAtZeroIsNone", "field", KEEP, keeping("locked_until=new.locked_until or None"), "test_swap_updates"),
        ("EmptyStateKeepsTheOld", "field", KEEP, keeping('state=new.state or (stored.state if stored else "")'), "test_swap_updates"),
        ("LastLineEndIsLost", "field", KEEP, keeping(r'spec=new.spec.removesuffix("\n")'), "test_text_comes_back_to_the_byte"),
        ("QueueFromTheKey", "field", KEEP, keeping('queue=new.key.rpartition(":")[0] or new.queue'), "test_names_that_look_alike_are_different"),
        ("DueInMilliseconds", "field", KEEP, keeping("due_at=new.due_at // 1000 * 1000"), "test_cancelled_claim"),
        ("EndOfLeaseIsUnsigned", "field", KEEP, keeping("locked_until=new.locked_until and max(new.locked_until, 0)"), "test_due_and_claim_give_every_value"),
        ("DueBeforeTheYear10000", "field", KEEP, keeping("due_at=min(new.due_at, 253402300799999999)"), "test_held_records_are_kept"),
        ("HolderStays", "field", KEEP, keeping("locked_by=new.locked_by or (stored.locked_by if stored else None)"), "test_race_of_claims_on_many_queues"),
        ("StateOf64KB", "field", KEEP, keeping("state=new.state[:65535]"), "test_a_large_text_by_update"),
        ("RevisionOf32Letters", "field", KEEP, keeping("revision=new.revision[:32]"), "test_swap_updates"),
        # Order
        ("NamesBackwards", "order", NAMES, NAMES.replace("after)[", "after)[::-1]["), "test_queues_page_by_page"),
        ("RunsOldestFirst", "order", "reverse=True)", "reverse=False)", "test_a_run_is_appended_with_its_change"),
        ("ClaimsTheLastQueueFirst", "order", "for each in claims:", "for each in reversed(claims):", "test_claim_within_limits_over_many_queues"),
        ("OutcomesBackwards", "order", "for change in changes]", "for change in changes][::-1]", "test_race_of_claims_on_many_queues"),
        ("ReadsInTheOrderOfKeys", "order", READ, "return [self._records.get(key) for key in sorted(ref.key for ref in refs)]", "test_race_of_claims"),
        ("LookReadsEachOnce", "order", LOOK, LOOK.replace("for ref in refs", "for ref in dict.fromkeys(refs)"), "test_look_reads_too"),
        ("ReadsEachOnce", "order", READ, READ.replace("in refs]", "in dict.fromkeys(refs)]"), "test_read_keeps_the_order_of_the_refs"),
        # Filters
        ("PrefixEndsAtTheBasicPlane", "filter", "takewhile(lambda key: key.startswith(prefix), keys)", r'takewhile(lambda key: key < prefix + "\uffff", keys)', "test_queues_that_look_alike_are_different"),
        ("PrefixOnTheFirstPageOnly", "filter", "takewhile(lambda key: key.startswith(prefix), keys)", "takewhile(lambda key: after is not None or key.startswith(prefix), keys)", "test_scan_with_a_prefix"),
        ("LookSeesTheFirstHeld", "filter", "self._range(queue, since, HELD)", "self._range(queue, since, HELD + 1)", "test_next_ready_leaves_out_what_is_held"),
        ("LookLeavesOutStaticQueues", "filter", MOMENTS, "for queue in (one for one in queues if not one.static):", "test_the_last_of_many_queues"),
        ("LookAtTheLastQueueOnly", "filter", MOMENTS, "for queue in queues[-1:]:", "test_next_ready_after_a_moment"),
        ("StaticQueuesIgnoreTheTime", "filter", PAGE, PAGE.replace("since, before", "LEAST if queue.static else since, HELD if queue.static else before"), "test_race_of_claims_on_many_queues"),
        ("StaticQueuesAreNotListed", "filter", "index = self._by_key.get(queue.name)\n        if index is None:", "index = self._by_key.get(queue.name)\n        if index is None or queue.static:", "test_queues_that_look_alike_are_different"),
        ("NoQueuesMeansAllRuns", "filter", "question.queues is None or", "not question.queues or", "test_runs_by_task_instance_outcome_and_time"),
        ("NoOutcomesMeansAllRuns", "filter", "question.outcomes is None or", "not question.outcomes or", "test_runs_by_task_instance_outcome_and_time"),
        ("RunsOfKeysThatBeginAlike", "filter", "line.key == question.key", "line.key.startswith(question.key)", "test_runs_by_task_instance_outcome_and_time"),
        ("RunsByTheBeginningOfTheirText", "filter", "question.containing in line.text)", "question.containing in line.text[:100])", "test_runs_by_their_text"),
        ("ReadyBeforeTheEpochIsLost", "filter", "LEAST if after is None else after + 1", "0 if after is None else after + 1", "test_next_ready_is_the_earliest_of_all"),
        ("LookByMilliseconds", "filter", "LEAST if after is None else after + 1", "LEAST if after is None else after + 1000", "test_cancelled_writes_leave_the_index_right"),
        # Counts
        ("CountOfAnEmptyRangeIsNegative", "count", COUNT, "return Count(value, exact=True)", "test_count"),
        ("CountAtTheLimitIsInexact", "count", COUNT, "return Count(max(value, 0), exact=value < limit)", "test_count_beyond_the_limit"),
        ("CountOfWhatIsHeldIsZero", "count", COUNT, "return Count(0 if since >= HELD else max(value, 0), exact=True)", "test_count"),
        ("PruneSaysItsLimit", "count", "return len(old)", "return limit", "test_runs_of_an_empty_log"),
        # Partial and lost writes
        ("RunsOfDeletionsAreLost", "partial", RUN, "if change.run is not None and new is not None:", "test_a_run_is_appended_with_its_change"),
        ("RunsOfInsertsAreLost", "partial", RUN, "if change.run is not None and old is not None:", "test_a_run_is_appended_with_its_change"),
        ("RunsOfOneMomentReplaceEachOther", "partial", "self._runs[change.run.ended_at, change.run.id]", "self._runs[change.run.ended_at, change.run.key]", "test_runs_newest_first"),
        ("WhatIsLeasedIsNotDeleted", "partial", "if new is None:\n            self._delete", "if new is None and stored is not None and stored.locked_by:\n            return Swap.CONFLICT\n        if new is None:\n            self._delete", "test_cancelled_calls_leave_nothing_behind"),
        ("ADeletedKeyIsForgottenLate", "partial", "_remove(self._by_key, stored.queue, stored.key)", "if len(self._by_key[stored.queue]) > 1: _remove(self._by_key, stored.queue, stored.key)", "test_race_of_deletions"),
        ("BatchesStopAtAConflict", "partial", "return [self._swap(change) for change in changes]", "done = [Swap.CONFLICT] * len(changes)\n        for place, change in enumerate(changes):\n            done[place] = self._swap(change)\n            if not done[place] and len(changes) > 50: break\n        return done", "test_swap_reports_each_change"),
        # Errors
        ("ConflictsAreErrors", "error", "return Swap.CONFLICT", 'raise LookupError("conflict")', "test_cancelled_calls_leave_nothing_behind"),
        ("WhatOthersTookIsReturned", "error", "if swap is Swap.APPLIED]", "if swap is not None]", "test_race_of_claims"),
        # Time, token and holder of a claim
        ("ReadyAMillisecondEarly", "time", BEFORE, BEFORE.replace("now + 1", "now + 1000"), "test_claim_of_nothing"),
        ("ReadyAfterTheMoment", "time", BEFORE, BEFORE.replace("now + 1", "now"), "test_cancelled_claim"),
        ("FenceInMilliseconds", "time", "lease.claim(r, now=now,", "lease.claim(r, now=now // 1000 * 1000,", "test_claim_uses_the_time_that_it_is_given"),
        ("HolderIsTheToken", "claim", "holder=holder)", "holder=token)", "test_race_of_claims"),
        ("LeaseEndsWithTheFirstClaim", "claim", "locked_until=ends[r.queue]", "locked_until=min(ends.values())", "test_claim_ends_leases_queue_by_queue"),
        ("OneWindowForEachQueue", "claim", "for each in claims:", "for each in {one.queue: one for one in claims}.values():", "test_claim_within_windows"),
    )
]
# fmt: on


class Table:
    """A pytest plugin that runs each store up to its first failure, and records which test that was."""

    def __init__(self) -> None:
        self.caught: dict[str, str] = {}
        self.stores: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # The random histories come last: they find many faults, but don't tell what is wrong.
        items.sort(key=lambda item: "random_histories" in item.name or "every_value" in item.name)
        for item in items:
            self.stores.setdefault(_class_of(item), item.path.name)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if _class_of(item) in self.caught:
            pytest.skip("caught already")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.caught.setdefault(report.nodeid.split("::")[1], report.nodeid.split("::")[2].partition("[")[0])


def _class_of(item: pytest.Item) -> str:
    return item.nodeid.split("::")[1]


def main() -> int:
    """Run all and print the table. Returns an error if a fault was not caught."""
    folder = Path(__file__).parent
    files = [str(folder / "mutated.py"), *map(str, sorted(folder.glob("broken_*.py")))]
    table = Table()
    Broken.deadline, Broken.deadlock_after = 60, 20  # shorter limits would fail on a busy machine without any fault
    with redirect_stdout(io.StringIO()):
        pytest.main(
            [
                "-q",
                "-p",
                "no:cacheprovider",
                "--no-header",
                "--tb=no",
                "-Wignore::pytest.PytestAssertRewriteWarning",
                *sys.argv[1:],
                *files,
            ],
            plugins=[table],
        )
    kinds = {f"Test{one.name}": one.kind for one in MUTANTS}
    for store, file in table.stores.items():
        print(f"{store.removeprefix('Test'):40} {kinds.get(store, file):20} {table.caught.get(store, 'NOT CAUGHT')}")
    for name, stores in (
        ("single faults in the source", [one for one in table.stores if one in kinds]),
        ("stores with a fault", [one for one in table.stores if one not in kinds]),
    ):
        print(f"{name}: {sum(one in table.caught for one in stores)} of {len(stores)} caught")
    return int(len(table.caught) < len(table.stores))


if __name__ == "__main__":
    sys.exit(main())
