"""Single faults put into the source of a correct store, by kind, and a command that counts what the suite catches.

    python -m tests.contract.mutants

prints what became of each: of those in this list and of the stores in ``broken_*.py``. The list names one test that
catches each, and the test of the suite holds it to that.
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
LOOK = "return Look(min(moments, default=None), [self._records.get(ref.key) for ref in refs], None)"
RUN = "if change.run is not None:"
PRUNE = "islice(self._runs.irange(maximum=(before,), inclusive=(True, False)), limit)"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault.

    :ivar old, new: the text that is replaced in the source of the store, which has it once.
    :ivar caught_by: a test of the suite that fails.
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
    """The source of the in-memory store, with the claim that it inherits written into it."""
    inherited = "".join(
        textwrap.dedent(inspect.getsource(function)).join(("\n", ""))
        for function in (pyncette.repository.Repository.claim, pyncette.repository.Repository._ready)
    )
    whole = inspect.getsource(pyncette.memory)
    place = "\n    async def runs(self"
    imports = "from .repository import CLAIM_ATTEMPTS, QueueClaim, Repository, lease\n"
    whole = whole.replace("from .repository import Repository\n", imports)
    inherited = inherited.replace(
        "    changes = [\n", "    await anyio.lowlevel.checkpoint()\n        changes = [\n", 1
    )
    return whole.replace(place, textwrap.indent(inherited, "    ") + place, 1)


def keeping(fields: str) -> str:
    return f"from dataclasses import replace\n        self._records[new.key] = replace(new, {fields})\n"


# ruff: noqa: E501 - one row is one fault
# fmt: off
MUTANTS = [
    Mutant(*row)
    for row in (
        # Wrong comparisons
        ("SinceIsExclusive", "comparison", RANGE, RANGE.replace("(since,)", "(since + 1,)"), ""),
        ("BeforeIsInclusive", "comparison", RANGE, RANGE.replace("(before,)", "(before + 1,)"), ""),
        ("AfterIsInclusive", "comparison", "irange(after, (before,), (False, False))", "irange(after, (before,), (True, False))", ""),
        ("AfterNeedsALaterMoment", "comparison", "if after is not None and after >= (since,):", "if after is not None and after[0] > since:", ""),
        ("RevisionsByTheirBeginning", "comparison", EQUAL, "if (None if stored is None else stored.revision[:1]) != (None if old is None else old.revision[:1]):", ""),
        ("RevisionsWithoutCase", "comparison", EQUAL, "if (None if stored is None else stored.revision.lower()) != (None if old is None else old.revision.lower()):", ""),
        ("ScanRepeatsAKeyThatIsThePrefix", "comparison", "after >= prefix", "after > prefix", ""),
        ("InsertsOverWhatIsHeld", "comparison", EQUAL, "if not (old is None and new is not None and stored is not None and stored.ready_at >= HELD) and " + EQUAL[3:], ""),
        ("CountIncludesBefore", "comparison", "index.bisect_left((before,))", "index.bisect_left((before + 1,))", ""),
        ("CountExcludesSince", "comparison", "index.bisect_left((since,))", "index.bisect_left((since + 1,))", ""),
        ("RunsExcludeSince", "comparison", "irange((question.since,), end,", "irange((question.since + 1,), end,", ""),
        ("PruneIncludesBefore", "comparison", PRUNE, PRUNE.replace("(before,)", "(before + 1,)"), ""),
        # Limits
        ("PagesHaveOneMore", "limit", PAGE, PAGE.replace("limit", "limit + 1"), ""),
        ("PagesHaveOneLess", "limit", PAGE, PAGE.replace("limit", "max(limit - 1, min(limit, 1))"), ""),
        ("ListsHaveOneMore", "limit", LIST, LIST.replace("limit", "limit + 1"), ""),
        ("ListsHaveAHundred", "limit", LIST, LIST.replace("limit", "min(limit, 100)"), ""),
        ("NamesHaveOneLess", "limit", NAMES, NAMES.replace("[:limit]", "[: max(limit - 1, 1)]"), ""),
        ("NamesHaveNoLimit", "limit", NAMES, NAMES.replace("[:limit]", ""), ""),
        ("PruneDeletesOneMore", "limit", PRUNE, PRUNE.replace("limit", "limit + 1"), ""),
        ("RunsHaveOneMore", "limit", "question.limit)", "question.limit + 1)", ""),
        ("ClaimsHaveOneMore", "limit", WANTED, WANTED.replace("len(found)", "len(found) + (len(found) > 3)"), ""),
        ("ClaimsHaveOneLess", "limit", WANTED, WANTED.replace("len(found)", "len(found) - (len(claims) > 1)"), ""),
        ("LimitOfTheFirstQueueForAll", "limit", WANTED, WANTED.replace("each.limit", "claims[0].limit"), ""),
        ("ClaimsStopAtAnEmptyQueue", "limit", "found += await self.scan_ready(each.queue,", "if found and len(claims) > 30 and not await self.scan_ready(each.queue, limit=1): break\n                found += await self.scan_ready(each.queue,", ""),
        # Fields
        ("DueIsReady", "field", KEEP, keeping("due_at=new.ready_at"), ""),
        ("FencesOf53Bits", "field", KEEP, keeping("fence=min(new.fence, 2**53)"), ""),
        ("AttemptsOf15Bits", "field", KEEP, keeping("attempt=min(new.attempt, 32767)"), ""),
        ("EmptyHolderIsNone", "field", KEEP, keeping("locked_by=new.locked_by or None"), ""),
        ("EndOfLeaseAtZeroIsNone", "field", KEEP, keeping("locked_until=new.locked_until or None"), ""),
        ("EmptyStateKeepsTheOld", "field", KEEP, keeping('state=new.state or (stored.state if stored else "")'), ""),
        ("LastLineEndIsLost", "field", KEEP, keeping(r'spec=new.spec.removesuffix("\n")'), ""),
        ("QueueFromTheKey", "field", KEEP, keeping('queue=new.key.rpartition(":")[0] or new.queue'), ""),
        ("DueInMilliseconds", "field", KEEP, keeping("due_at=new.due_at // 1000 * 1000"), ""),
        ("EndOfLeaseIsUnsigned", "field", KEEP, keeping("locked_until=new.locked_until and max(new.locked_until, 0)"), ""),
        ("DueBeforeTheYear10000", "field", KEEP, keeping("due_at=min(new.due_at, 253402300799999999)"), ""),
        ("HolderStays", "field", KEEP, keeping("locked_by=new.locked_by or (stored.locked_by if stored else None)"), ""),
        ("StateOf64KB", "field", KEEP, keeping("state=new.state[:65535]"), ""),
        ("RevisionOf32Letters", "field", KEEP, keeping("revision=new.revision[:32]"), ""),
        # Order
        ("NamesBackwards", "order", NAMES, NAMES.replace("after)[", "after)[::-1]["), ""),
        ("RunsOldestFirst", "order", "reverse=True)", "reverse=False)", ""),
        ("ClaimsTheLastQueueFirst", "order", "for each in claims:", "for each in reversed(claims):", ""),
        ("OutcomesBackwards", "order", "for change in changes]", "for change in changes][::-1]", ""),
        ("ReadsInTheOrderOfKeys", "order", READ, "return [self._records.get(key) for key in sorted(ref.key for ref in refs)]", ""),
        ("LookReadsEachOnce", "order", LOOK, LOOK.replace("for ref in refs", "for ref in dict.fromkeys(refs)"), ""),
        ("ReadsEachOnce", "order", READ, READ.replace("in refs]", "in dict.fromkeys(refs)]"), ""),
        # Filters
        ("PrefixEndsAtTheBasicPlane", "filter", "takewhile(lambda key: key.startswith(prefix), keys)", r'takewhile(lambda key: key < prefix + "\uffff", keys)', ""),
        ("PrefixOnTheFirstPageOnly", "filter", "takewhile(lambda key: key.startswith(prefix), keys)", "takewhile(lambda key: after is not None or key.startswith(prefix), keys)", ""),
        ("LookSeesTheFirstHeld", "filter", "self._range(queue, since, HELD)", "self._range(queue, since, HELD + 1)", ""),
        ("LookLeavesOutStaticQueues", "filter", MOMENTS, "for queue in (one for one in queues if not one.static):", ""),
        ("LookAtTheLastQueueOnly", "filter", MOMENTS, "for queue in queues[-1:]:", ""),
        ("StaticQueuesIgnoreTheTime", "filter", PAGE, PAGE.replace("since, before", "LEAST if queue.static else since, HELD if queue.static else before"), ""),
        ("StaticQueuesAreNotListed", "filter", "index = self._by_key.get(queue.name)\n        if index is None:", "index = self._by_key.get(queue.name)\n        if index is None or queue.static:", ""),
        ("NoQueuesMeansAllRuns", "filter", "question.queues is None or", "not question.queues or", ""),
        ("NoOutcomesMeansAllRuns", "filter", "question.outcomes is None or", "not question.outcomes or", ""),
        ("RunsOfKeysThatBeginAlike", "filter", "line.key == question.key", "line.key.startswith(question.key)", ""),
        ("RunsByTheBeginningOfTheirText", "filter", "question.containing in line.text)", "question.containing in line.text[:100])", ""),
        ("ReadyBeforeTheEpochIsLost", "filter", "LEAST if after is None else after + 1", "0 if after is None else after + 1", ""),
        ("LookByMilliseconds", "filter", "LEAST if after is None else after + 1", "LEAST if after is None else after + 1000", ""),
        # Counts
        ("CountOfAnEmptyRangeIsNegative", "count", COUNT, "return Count(value, exact=True)", ""),
        ("CountAtTheLimitIsInexact", "count", COUNT, "return Count(max(value, 0), exact=value < limit)", ""),
        ("CountOfWhatIsHeldIsZero", "count", COUNT, "return Count(0 if since >= HELD else max(value, 0), exact=True)", ""),
        ("PruneSaysItsLimit", "count", "return len(old)", "return limit", ""),
        # Partial and lost writes
        ("RunsOfDeletionsAreLost", "partial", RUN, "if change.run is not None and new is not None:", ""),
        ("RunsOfInsertsAreLost", "partial", RUN, "if change.run is not None and old is not None:", ""),
        ("RunsOfOneMomentReplaceEachOther", "partial", "self._runs[change.run.ended_at, change.run.id]", "self._runs[change.run.ended_at, change.run.key]", ""),
        ("WhatIsLeasedIsNotDeleted", "partial", "if new is None:\n            self._delete", "if new is None and stored is not None and stored.locked_by:\n            return Swap.CONFLICT\n        if new is None:\n            self._delete", ""),
        ("ADeletedKeyIsForgottenLate", "partial", "_remove(self._by_key, stored.queue, stored.key)", "if len(self._by_key[stored.queue]) > 1: _remove(self._by_key, stored.queue, stored.key)", ""),
        ("BatchesStopAtAConflict", "partial", "return [self._swap(change) for change in changes]", "done = [Swap.CONFLICT] * len(changes)\n        for place, change in enumerate(changes):\n            done[place] = self._swap(change)\n            if not done[place] and len(changes) > 50: break\n        return done", ""),
        # Errors
        ("ConflictsAreErrors", "error", "return Swap.CONFLICT", 'raise LookupError("conflict")', ""),
        ("WhatOthersTookIsReturned", "error", "if swap is Swap.APPLIED]", "if swap is not None]", ""),
        # Time, token and holder of a claim
        ("ReadyAMillisecondEarly", "time", BEFORE, BEFORE.replace("now + 1", "now + 1000"), ""),
        ("ReadyAfterTheMoment", "time", BEFORE, BEFORE.replace("now + 1", "now"), ""),
        ("FenceInMilliseconds", "time", "lease.claim(r, now=now,", "lease.claim(r, now=now // 1000 * 1000,", ""),
        ("HolderIsTheToken", "claim", "holder=holder)", "holder=token)", ""),
        ("LeaseEndsWithTheFirstClaim", "claim", "locked_until=ends[r.queue]", "locked_until=min(ends.values())", ""),
        ("OneWindowForEachQueue", "claim", "for each in claims:", "for each in {one.queue: one for one in claims}.values():", ""),
    )
]
# fmt: on


class Table:
    """A plugin of pytest: runs each store up to its first failure, and takes down which test that was."""

    def __init__(self) -> None:
        self.caught: dict[str, str] = {}
        self.stores: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # The random histories come last: they find much, and say little.
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
    """Run all, print the table; an error if anything was not caught."""
    folder = Path(__file__).parent
    files = [str(folder / "mutated.py"), *map(str, sorted(folder.glob("broken_*.py")))]
    table = Table()
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
