"""Rows damaged by hand in ways that a record can't represent: invalid UTF-8, and empty values.

The contract covers damage that a record can represent.
"""
# ruff: noqa: S608 - names of tables that the tests made themselves

from __future__ import annotations

import datetime
from collections import Counter

import anyio
import pytest

from pyncette import Context, Pyncette
from pyncette.record import Band, Change, Record, Swap
from pyncette.repository import Repository
from tests.helpers.mysql import NOW, TASK, Store, claim, insert, record
from tests.running import running

SOON = datetime.timedelta(seconds=0.2)

DAMAGES = {
    "a key that is no UTF-8": "`key` = x'7461736b3aff'",
    "a revision that is no UTF-8": "revision = x'ff00'",
    "an empty revision": "revision = ''",
    "an owner that is no UTF-8": "locked_by = x'ff', locked_until = 5",
    "an empty owner": "locked_by = '', locked_until = 5",
    "no spec": "spec = ''",
    "no text in the spec": "spec = REPEAT(CHAR(0), 5)",
    "a state that is no JSON": "state = '{'",
    "an old answer that is none": "was = x'ff'",
    "numbers at the end of their range": f"fence = {2**63 - 1}, attempt = {2**63 - 1}, due_at = {-(2**63)}",
    "numbers at the other end": f"fence = {-(2**63)}, attempt = {-(2**63)}, due_at = {2**63 - 1}",
}


@pytest.fixture(params=list(DAMAGES.values()), ids=list(DAMAGES))
def damage(request: pytest.FixtureRequest) -> str:
    assignment: str = request.param
    return assignment


async def damaged(store: Store, repository: Repository, damage: str) -> Record:
    """The damaged record as it is read. Reading it changes nothing."""
    await insert(repository, [record("broken"), record("sound")])
    await store.ask(f"UPDATE {store.table} SET {damage} WHERE `key` = 'task:broken'")
    found = await repository.scan(TASK, after=None, limit=9)
    (broken,) = (one for one in found if one.key != "task:sound")
    assert await repository.read([broken.ref]) == [broken]
    assert broken in await repository.scan_ready(TASK, before=NOW + 1, limit=9)
    return broken


async def test_it_is_claimed_with_the_others_and_set_aside(store: Store, damage: str) -> None:
    async with store.open() as repository:
        broken = await damaged(store, repository, damage)
        assert {one.key for one in await claim(repository)} == {broken.key, "task:sound"}
        assert await claim(repository) == []
        (stored,) = await repository.read([broken.ref])
        assert stored is not None
        band = Band.UNREADABLE
        held = Record(*(getattr(stored, name) for name in Record.__dataclass_fields__))
        held.ready_at, held.locked_until, held.locked_by, held.revision = band.at(NOW), None, None, "held"
        assert await repository.swap([Change(stored, held)]) == [Swap.APPLIED]
        shown = await repository.scan_ready(TASK, since=band.since, before=band.before, limit=10)
        assert [one.ref for one in shown] == [broken.ref]


async def test_it_is_overwritten_and_deleted(store: Store, damage: str) -> None:
    async with store.open() as repository:
        broken = await damaged(store, repository, damage)
        new = record("new")
        new.key = broken.key
        assert await repository.swap([Change(broken, new)]) == [Swap.APPLIED]
        assert await repository.swap([Change(broken, None)]) == [Swap.CONFLICT]
        assert await repository.swap([Change(new, None)]) == [Swap.APPLIED]
        assert [one.key for one in await repository.scan(TASK, after=None, limit=9)] == ["task:sound"]


async def test_queues_whose_names_are_not_valid_utf8(store: Store) -> None:
    """They are listed with the others, and a page may begin after one."""
    async with store.open() as repository:
        await insert(repository, [record("a"), record("b")])
        await store.ask(f"UPDATE {store.table} SET queue = x'61ff62' WHERE `key` = 'task:a'")
        assert await repository.queues(after=None, limit=9) == ["a\udcffb", "task"]
        assert await repository.queues(after="a\udcffb", limit=9) == ["task"]


async def test_an_app_keeps_running(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Each damaged instance is logged at most once, everything else runs, and they can be overwritten and deleted."""
    app = Pyncette(store.server.url.replace("mariadb://", "mysql://"), mysql_table_name=store.table, poll_interval=SOON)
    ran: Counter[str] = Counter()

    @app.dynamic_task()
    async def task(context: Context) -> None:
        ran[context.task.name] += 1

    async with running(app) as context:
        names = [str(number) for number in range(len(DAMAGES))]
        for name in [*names, "sound"]:
            await context.schedule_task(task, name, interval=SOON)
        for name, assignment in zip(names, DAMAGES.values(), strict=True):
            await store.ask(f"UPDATE {store.table} SET {assignment} WHERE `key` = 'task:{name}'")
        before = ran["sound"]
        with anyio.fail_after(20):
            while ran["sound"] < before + 10:  # noqa: ASYNC110 - nothing signals it
                await anyio.sleep(0.05)
        await context.list_tasks(task)
        assert max(Counter(entry.getMessage() for entry in caplog.records).values(), default=0) <= 1
        ran.clear()
        for name in names:
            await context.schedule_task(task, name, force=True, interval=SOON)
        with anyio.fail_after(20):
            while ran.keys() < {*names, "sound"}:  # noqa: ASYNC110 - nothing signals it
                await anyio.sleep(0.05)
        for name in names:
            await context.unschedule_task(task, name)
            assert await context.get_task(task, name) is None
