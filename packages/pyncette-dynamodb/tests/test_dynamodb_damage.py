"""Records damaged by hand: they don't keep anything else from running, and can be set aside, overwritten and
deleted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from pyncette import lease
from pyncette.dynamodb.codec import NO_REVISION, Item, Layout
from pyncette.record import Band, Change, Look, Queue, Record, Swap
from pyncette.repository import Repository
from pyncette.testing.contract.base import applied, take
from tests.helpers.dynamodb import MINUTE, NOW, TASK, Answer, Request, Wire, call, for_writes, fresh, record, want
from tests.servers.model import Server

Factory = Callable[..., AbstractAsyncContextManager[Repository]]

pytestmark = pytest.mark.anyio

BROKEN = record("broken", ready_at=NOW - MINUTE)
SOUND = record("sound")
KEYS = {BROKEN.key, SOUND.key}

DAMAGES: dict[str, tuple[str, dict[str, object] | None]] = {
    "no revision": ("revision", None),
    "a revision that is a number": ("revision", {"N": "1"}),
    "an empty revision": ("revision", {"S": ""}),
    "no fence": ("fence", None),
    "a fence that is text": ("fence", {"S": "x"}),
    "a fence that is not whole": ("fence", {"N": "1.5"}),
    "a fence out of range": ("fence", {"N": str(10**30)}),
    "no attempt": ("attempt", None),
    "a ready_at that is not whole": ("ready_at", {"N": f"{NOW - MINUTE}.5"}),
    "a ready_at that is too small": ("ready_at", {"N": str(-(10**30))}),
    "no due_at": ("due_at", None),
    "a due_at out of range": ("due_at", {"N": str(-(10**30))}),
    "no locked_until": ("locked_until", None),
    "a locked_by that is a number": ("locked_by", {"N": "1"}),
    "no spec": ("spec", None),
    "a spec of bytes": ("spec", {"B": "AAAA"}),
    "no state": ("state", None),
}


@pytest.fixture(params=list(DAMAGES.values()), ids=list(DAMAGES))
def damage(request: pytest.FixtureRequest, dynamodb_server: Server, table_name: str) -> Callable[[], None]:
    """Damages the record as it is stored at that moment."""
    name, value = request.param
    key: Item = Layout("").key(BROKEN.ref)

    def inflict() -> None:
        stored = call(dynamodb_server.endpoint, "GetItem", TableName=table_name, Key=key)["Item"]
        stored = {**stored, name: value} if value else {each: stored[each] for each in stored if each != name}
        call(dynamodb_server.endpoint, "PutItem", TableName=table_name, Item=stored)

    return inflict


async def claim(repository: Repository) -> list[Record]:
    token = fresh()
    return await take(repository, want(TASK), now=NOW, limit=100, token=token, holder=token)


class TestADamagedRecord:
    async def test_is_claimed_with_the_others_and_set_aside(self, direct: Factory, damage: Callable[[], None]) -> None:
        async with direct() as repository:
            assert applied(await repository.swap([Change(None, BROKEN), Change(None, SOUND)]))
            damage()

            claimed = await claim(repository)
            assert {one.key for one in claimed} == KEYS
            (broken,) = (one for one in claimed if one.key == BROKEN.key)
            assert broken.spec.startswith("damaged")
            assert await claim(repository) == []

            (stored,) = await repository.read([BROKEN.ref])
            assert stored is not None
            held = lease.hold(stored, Band.UNREADABLE, moment=NOW, revision=fresh())
            assert await repository.swap([held]) == [Swap.APPLIED]
            band = Band.UNREADABLE
            (shown,) = await repository.scan_ready(TASK, since=band.since, before=band.before, limit=10)
            assert shown.key == BROKEN.key

    async def test_is_shown_overwritten_and_deleted(self, direct: Factory, damage: Callable[[], None]) -> None:
        async with direct() as repository:
            assert applied(await repository.swap([Change(None, BROKEN), Change(None, SOUND)]))
            for new in (record("broken", ready_at=NOW - MINUTE, spec='{"new": 1}'), None):
                damage()
                (stored,) = await repository.read([BROKEN.ref])
                assert stored is not None
                assert {one.key for one in await repository.scan(TASK, after=None, limit=9)} == KEYS
                found = await repository.scan_ready(TASK, before=NOW + 1, limit=9)
                assert {one.key for one in found} == KEYS
                look: Look = await repository.look([TASK], [BROKEN.ref])
                assert look.next_ready is not None

                assert await repository.swap([Change(stored, new)]) == [Swap.APPLIED]
                assert await repository.read([BROKEN.ref]) == [new]

    async def test_is_overwritten_by_only_one_client(self, direct: Factory, damage: Callable[[], None]) -> None:
        async with direct() as repository:
            assert applied(await repository.swap([Change(None, BROKEN)]))
            damage()
            (stored,) = await repository.read([BROKEN.ref])
            swaps = [(await repository.swap([Change(stored, record("broken", spec=spec))]))[0] for spec in ("1", "2")]
            assert swaps == [Swap.APPLIED, Swap.CONFLICT]
            assert await repository.swap([Change(stored, None)]) == [Swap.CONFLICT]


async def test_a_deleted_damaged_record_is_not_recreated(direct: Factory) -> None:
    async with direct() as repository:
        ghost = record("ghost")
        ghost.revision = NO_REVISION
        changes = [Change(ghost, record("ghost", spec="other")), Change(ghost, record("ghost")), Change(ghost, None)]
        for change in changes:
            assert await repository.swap([change]) == [Swap.CONFLICT]
        assert await repository.read([ghost.ref]) == [None]


@pytest.mark.parametrize("task", [TASK, Queue("task", static=True)])
async def test_a_record_without_ready_at(
    direct: Factory, dynamodb_server: Server, table_name: str, task: Queue
) -> None:
    """No index contains it. Reading it, or listing its queue, adds it again, so that it is claimed and set aside."""
    async with direct() as repository:
        for listed in (True, False):
            one = record("task" if task.static else "lost", ready_at=NOW - MINUTE)
            key = Layout("").key(one.ref)
            assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
            stored = call(dynamodb_server.endpoint, "GetItem", TableName=table_name, Key=key)["Item"]
            del stored["ready_at"]
            call(dynamodb_server.endpoint, "PutItem", TableName=table_name, Item=stored)
            assert (await repository.look([task], [])).next_ready is None
            (found,) = await (repository.scan(task, after=None, limit=9) if listed else repository.read([one.ref]))
            assert found is not None
            assert found.spec.startswith("damaged")
            token = fresh()
            (claimed,) = await take(repository, want(task), now=NOW, limit=9, token=token, holder=token)
            assert claimed.key == one.key
            assert await repository.swap([Change(claimed, None)]) == [Swap.APPLIED]


async def test_a_record_without_ready_at_that_is_changed_meanwhile(
    watched: Factory, proxy: Wire, dynamodb_server: Server, table_name: str
) -> None:
    """A newer write is not overwritten, and an error does not prevent the other records from being read."""
    one = record("lost", ready_at=NOW - MINUTE)
    key = Layout("").key(one.ref)
    async with watched() as repository:
        assert await repository.swap([Change(None, one)]) == [Swap.APPLIED]
        sound = call(dynamodb_server.endpoint, "GetItem", TableName=table_name, Key=key)["Item"]
        damaged = {name: value for name, value in sound.items() if name != "ready_at"}
        for answer in (None, Answer.error("InternalServerError", status=500)):
            call(dynamodb_server.endpoint, "PutItem", TableName=table_name, Item=damaged)

            def meanwhile(_: Request, answer: Answer | None = answer) -> Answer | None:
                call(dynamodb_server.endpoint, "PutItem", TableName=table_name, Item=sound)
                return answer

            proxy.script = for_writes(meanwhile)
            (found,) = await repository.scan(TASK, after=None, limit=9)
            assert found.key == one.key
            proxy.script = None
            assert await repository.read([one.ref]) == [one]
