"""The base of all parts of the suite: fixtures, helpers, and the guard against silently missing tests."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from itertools import zip_longest
from typing import Any, ClassVar, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from pyncette import lease
from pyncette.record import Change, Queue, QueueClaim, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.capabilities import Capabilities

from .deadline import GRACE, Watchdog, bound_tests

_T = TypeVar("_T")

Factory = Callable[[], AbstractAsyncContextManager[Repository]]

NOW = 1_800_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
EXACT = 2**53
"""Indexes may store times as doubles, which are exact up to here (the year 2255)."""

TASK = Queue("task")

APPLIED, CONFLICT, BUSY = Swap.APPLIED, Swap.CONFLICT, Swap.BUSY


def fresh() -> str:
    """A unique token."""
    return uuid.uuid4().hex


def record(
    queue: str = "task", name: str = "instance", *, ready_at: int = NOW, key: str | None = None, **fields: Any
) -> Record:
    """A record of an instance as core would write it, with a fresh revision.

    :param queue: its queue; its key is this, a colon and ``name``, unless ``key`` says otherwise.
    :param ready_at: microseconds; also ``due_at``.
    :param fields: others of :class:`~pyncette.record.Record`.
    """
    values: dict[str, Any] = {
        "due_at": ready_at,
        "locked_until": None,
        "locked_by": None,
        "revision": fresh(),
        "fence": 0,
        "attempt": 0,
        "spec": '{"name": "\u00fc"}',
        "state": "",
    }
    values.update(fields)
    return Record(queue=queue, key=f"{queue}:{name}" if key is None else key, ready_at=ready_at, **values)


def static(name: str, **fields: Any) -> Record:
    """A record of a static task: its key is the name of its queue. Parameters as for :func:`make_record`."""
    return record(name, key=name, **fields)


def numbered(count: int, queue: str = "task", *, step: int = 1, **fields: Any) -> list[Record]:
    """Records that became ready one after another, ``step`` apart, the last one at NOW."""
    return [
        record(queue, f"{number:05}", ready_at=NOW - (count - 1 - number) * step, **fields) for number in range(count)
    ]


def want(*queues: Queue, limit: int = 100, locked_until: int = NOW + MINUTE) -> list[QueueClaim]:
    return [QueueClaim(queue, limit, locked_until) for queue in queues]


def claimed(
    before: Iterable[Record], claims: Iterable[QueueClaim], *, now: int, token: str, holder: str
) -> list[Record]:
    """The records as a claim has stored them, given those that it returned."""
    ends = {each.queue.name: each.locked_until for each in claims}
    return [lease.claim(one, now=now, locked_until=ends[one.queue], token=token, holder=holder) for one in before]


async def take(
    repository: Repository, claims: Sequence[QueueClaim], *, now: int, limit: int, token: str, holder: str
) -> list[Record]:
    """Claim, and return the records as they are now."""
    before = await repository.claim(claims, now=now, limit=limit, token=token, holder=holder)
    return claimed(before, claims, now=now, token=token, holder=holder)


def applied(swaps: Iterable[Swap]) -> bool:
    """Whether all changes were applied."""
    return all(swap is APPLIED for swap in swaps)


async def swapped(repository: Repository, changes: Sequence[Change]) -> list[Swap]:
    """Swap, and retry busy changes, because a cancelled call may keep its locks for a moment."""
    swaps = await repository.swap(changes)
    with anyio.move_on_after(10):
        while BUSY in swaps:
            await anyio.sleep(0.01)
            places = [place for place, swap in enumerate(swaps) if swap is BUSY]
            for place, swap in zip(places, await repository.swap([changes[place] for place in places]), strict=True):
                swaps[place] = swap
    return swaps


async def ready(repository: Repository, claims: Sequence[QueueClaim], *, now: int, limit: int = 1000) -> list[Record]:
    """What a claim would find."""
    found: list[Record] = []
    for each in claims:
        if (wanted := min(each.limit, limit - len(found))) > 0:
            before = min(each.before, now + 1)
            found += await repository.scan_ready(each.queue, since=each.since, before=before, limit=wanted)
    return found


async def next_ready(repository: Repository, queues: Sequence[Queue], *, after: int | None = None) -> int | None:
    return (await repository.look(queues, (), after=after)).next_ready


def assert_same(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Assert that long lists are equal, and show the first difference.

    pytest would compare them line by line, which takes minutes for thousands of records if ``CI`` is set.
    """
    __tracebackhide__ = True
    if found == expected:
        return
    pairs = enumerate(zip_longest(found, expected, fillvalue="nothing"))
    position, (this, that) = next((at, (one, other)) for at, (one, other) in pairs if one != other)
    raise AssertionError(
        f"{len(found)} items, expected {len(expected)}. They differ first at position {position}:\n"
        f"found     {this}\nexpected  {that}"
    )


async def insert(repository: Repository, records: Iterable[Record]) -> None:
    changes = [Change(None, one) for one in records]
    assert_same(await repository.swap(changes), [APPLIED] * len(changes))


async def stored(repository: Repository, records: Sequence[Record]) -> list[Record | None]:
    return await repository.read([one.ref for one in records])


async def all_of(repository: Repository, queue: Queue, *, page: int = 1000) -> list[Record]:
    """All records of a queue, by scanning."""
    found: dict[str, Record] = {}
    last: str | None = None
    while True:
        more = await repository.scan(queue, after=last, limit=page)
        assert len(more) <= page
        repeated = [one.key for one in more if one.key in found]
        assert repeated == []
        found |= {one.key: one for one in more}
        if len(more) < page:
            return list(found.values())
        last = more[-1].key


async def wipe(repository: Repository, queues: Iterable[Queue]) -> None:
    for queue in queues:
        await repository.swap([Change(one, None) for one in await all_of(repository, queue)])


class ContractBase:
    """Fixtures and helpers. Subclasses of the suite override ``repository_factory`` and ``capabilities`` only."""

    pytestmark: ClassVar[Any] = [pytest.mark.anyio]
    capabilities: ClassVar[Capabilities] = Capabilities()

    clients_in_race: ClassVar[int] = 4
    property_examples: ClassVar[int] = 40
    property_phases: ClassVar[tuple[Phase, ...]] = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
    quick: ClassVar[bool] = False
    """Whether tests leave out their largest forms: for stores on which a request takes long."""
    deadlock_after: ClassVar[float] = 60
    """Seconds after which calls that wait for each other count as deadlocked."""
    deadline: ClassVar[float] = 100
    """Seconds after which a test fails, with a message that names what has not returned. What can't be cancelled ends
    the process ``grace`` seconds later."""

    watch: ClassVar[Callable[[Repository], Repository] | None] = None
    """Set by :mod:`pyncette.testing.report`: puts a watcher around each repository of the fixtures."""
    left_out: ClassVar[list[str]] = []
    """What the current test has left out."""

    grace: ClassVar[float] = GRACE
    """Seconds after the deadline that a test may take to end when it is cancelled."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        bound_tests(cls)
        faults = missing_tests(cls)
        if faults:
            raise TypeError(
                f"{cls.__qualname__} leaves out tests of the contract: {', '.join(faults)}. A test that a store can't "
                "pass is overridden by one that calls super() and is marked @pytest.mark.xfail(reason=...)."
            )

    @pytest.fixture
    def repository_factory(self) -> Factory:
        """A callable that returns an async context manager of a repository, each call an independent client of the
        same storage. The storage is empty at first, and no other test sees it."""
        raise NotImplementedError(f"{type(self).__qualname__} has to define the fixture repository_factory.")

    @pytest.fixture(autouse=True)
    def contract_watchdog(self, request: pytest.FixtureRequest) -> Iterator[Watchdog]:
        """Ends the process if even a cancellation doesn't end the test."""
        watchdog = Watchdog(self.deadline + self.grace, request.node.nodeid, request.config)
        with watchdog.watching():
            yield watchdog

    @pytest.fixture
    async def repository(self, repository_factory: Factory, contract_watchdog: Watchdog) -> AsyncIterator[Repository]:
        async with AsyncExitStack() as stack:
            with contract_watchdog.opening():
                repository = await stack.enter_async_context(repository_factory())
            yield _watched(repository)

    @pytest.fixture
    async def clients(self, repository: Repository, repository_factory: Factory) -> AsyncIterator[list[Repository]]:
        """Several clients of one storage; the same client several times if the storage can't be shared."""
        async with AsyncExitStack() as stack:
            others = [
                _watched(await stack.enter_async_context(repository_factory()))
                if self.capabilities.shared
                else repository
                for _ in range(self.clients_in_race - 1)
            ]
            yield [repository, *others]

    def leaves_out(self, reason: str) -> None:
        """Record in the report, if there is one, what was not tested on this store."""
        self.left_out.append(reason)

    def sized(self, full: int, *, quick: int) -> int:
        """The size of something in a test: ``quick`` for slow stores, otherwise ``full``."""
        return quick if self.quick else full

    def unless_quick(self, *values: _T) -> tuple[_T, ...]:
        return () if self.quick else values

    async def shows(
        self, probe: Callable[[], Awaitable[_T]], expected: Any, *, of: Callable[[_T], Any] = lambda found: found
    ) -> _T:
        """Assert that an index shows what is expected: immediately, or soon if it may lag behind."""
        found = await probe()
        if not self.capabilities.immediate_index:
            with anyio.move_on_after(self.capabilities.index_lag):
                while of(found) != expected:
                    await anyio.sleep(0.05)
                    found = await probe()
        if isinstance(expected, list):
            assert_same(of(found), expected)
        else:
            assert of(found) == expected
        return found

    async def take(
        self,
        repository: Repository,
        claims: Sequence[QueueClaim],
        *,
        expect: int,
        now: int = NOW,
        limit: int = 1000,
        token: str | None = None,
        holder: str | None = None,
    ) -> list[Record]:
        """Claim, and assert that it yields ``expect`` records: immediately, or soon if the index may lag behind.

        :return: the records as they are stored now.
        """
        token, holder = token or fresh(), holder or fresh()
        taken = await repository.claim(claims, now=now, limit=limit, token=token, holder=holder)
        if not self.capabilities.immediate_index:
            with anyio.move_on_after(self.capabilities.index_lag if expect else 0.2):
                while len(taken) < expect or not expect:
                    await anyio.sleep(0.05)
                    rest = [replace(one, limit=one.limit - _count(taken, one)) for one in claims]
                    taken += await repository.claim(
                        [one for one in rest if one.limit > 0],
                        now=now,
                        limit=limit - len(taken),
                        token=token,
                        holder=holder,
                    )
        assert len(taken) == expect
        stored_now = await repository.read([one.ref for one in taken])
        assert None not in stored_now
        return [one for one in stored_now if one is not None]

    async def for_all(
        self, values: SearchStrategy[_T], body: Callable[[_T], Coroutine[Any, Any, None]], *, max_examples: int
    ) -> None:
        """Run ``body`` in this event loop for many values. Hypothesis generates them in a separate thread."""

        @settings(
            max_examples=max_examples,
            phases=self.property_phases,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(values)
        def search(value: _T) -> None:
            anyio.from_thread.run(body, value)

        await anyio.to_thread.run_sync(search)

    async def test_nothing_of_the_contract_is_left_out(self) -> None:
        """No test of the suite is deleted, or replaced by one that isn't marked as an expected failure."""
        assert missing_tests(type(self)) == []


def _watched(repository: Repository) -> Repository:
    watch = ContractBase.watch
    return repository if watch is None else watch(repository)


def _count(records: Iterable[Record], claim: QueueClaim) -> int:
    return sum(one.queue == claim.queue.name and claim.since <= one.ready_at < claim.before for one in records)


def contract_tests(cls: type) -> dict[str, Any]:
    """The tests that ``cls`` inherits from the suite itself, by name."""
    return {
        name: function
        for base in reversed(cls.__mro__)
        if base.__module__.startswith(__package__)
        for name, function in vars(base).items()
        if name.startswith("test_")
    }


def missing_tests(cls: type) -> list[str]:
    """Tests of the suite that ``cls`` does not run as they are, and that aren't marked as expected failures."""
    missing = [
        name
        for name, function in contract_tests(cls).items()
        if getattr(cls, name, None) is not function and not _expected_to_fail(getattr(cls, name, None))
    ]
    if vars(cls).get("__test__", True) is not True:
        missing.append("all, by __test__ = False")
    return sorted(missing)


def _expected_to_fail(function: Any) -> bool:
    marks: Sequence[pytest.Mark] = getattr(function, "pytestmark", ())
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
