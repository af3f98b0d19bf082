"""Calls in transactions of their callers: each call, each kind of connection, many callers alongside many workers."""

from __future__ import annotations

import datetime
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session, async_sessionmaker

from pyncette import Context, Pyncette, PyncetteContext, Retry, Task
from pyncette._leases import access
from pyncette.errors import RepositoryException, TaskExistsException, TaskNotFoundException, TooManyRunsException
from pyncette.memory import MemoryRepository
from tests.helpers.shops import Shop

HOUR = datetime.timedelta(hours=1)
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
LAST = START + 9 * 24 * HOUR
EACH_SECOND = {"interval": datetime.timedelta(seconds=1)}
POLL = datetime.timedelta(seconds=0.5)


@pytest.fixture
def isolation_on_mysql() -> str:
    return "READ COMMITTED"


class Program:
    """An app with a task.

    :ivar executed: the names of the executed instances.
    """

    def __init__(self, options: dict[str, Any], **more: Any) -> None:
        self.app = Pyncette(
            **{"repository_factory" if key == "url" else key: of for key, of in options.items()}, **more
        )
        self.executed: list[str] = []

        @self.app.dynamic_task(schedule="0 0 * * *", retry=Retry(1))
        async def work(context: Context) -> None:
            self.executed.append(context.task.name)
            if context.args.get("fail"):
                raise ZeroDivisionError

        self.work: Task = work


async def until(probe: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not probe():  # noqa: ASYNC110 - nothing signals it
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_a_task_that_is_due_at_once_starts_after_the_commit(shop: Shop) -> None:
    """Not before the commit, but within a poll interval after it, and never after a rollback: of a session, and of its
    savepoints."""
    program = Program(shop.options, poll_interval=POLL)
    now = datetime.datetime.now(datetime.UTC)
    async with program.app.create() as context, shop.engine() as engine, anyio.create_task_group() as tasks:
        tasks.start_soon(context.run)
        async with AsyncSession(engine) as session:
            async with session.begin():
                await context.schedule_task(program.work, "committed", execute_at=now, transaction=session)
                savepoint = await session.begin_nested()
                await context.schedule_task(program.work, "undone", execute_at=now, transaction=session)
                await savepoint.rollback()
                await anyio.sleep(2 * POLL.total_seconds())
                assert program.executed == []
            started = anyio.current_time()
            await until(lambda: program.executed == ["committed"])
            assert anyio.current_time() - started < POLL.total_seconds() + 2
            async with session.begin() as transaction:
                await context.schedule_task(program.work, "rolled back", execute_at=now, transaction=session)
                await transaction.rollback()
        await context.schedule_task(program.work, "last", execute_at=now)
        await until(lambda: "last" in program.executed)
        assert program.executed == ["committed", "last"]
        while (await context.list_tasks(program.work)).tasks:  # noqa: ASYNC110 - it is removed after its execution
            await anyio.sleep(0.01)
        context.shutdown()


Call = Callable[[PyncetteContext, Task, Any], Awaitable[object]]

CALLS: dict[str, Call] = {
    "schedule_task": lambda c, task, t: c.schedule_task(task, "1", interval=HOUR, transaction=t),
    "schedule_tasks": lambda c, task, t: c.schedule_tasks(
        task, [(name, {"interval": HOUR}) for name in "14"], transaction=t
    ),
    "unschedule_task": lambda c, task, t: c.unschedule_task(task, "1", transaction=t),
    "unschedule_tasks": lambda c, task, t: c.unschedule_tasks(task, ["1", "2", "none"], transaction=t),
    "pause_task": lambda c, task, t: c.pause_task(task, "1", reason="sale", transaction=t),
    "pause_tasks": lambda c, task, t: c.pause_tasks(task, ["1", "2"], transaction=t),
    "resume_task": lambda c, task, t: c.resume_task(task, "3", transaction=t),
    "resume_tasks": lambda c, task, t: c.resume_tasks(task, ["3"], transaction=t),
    "trigger_task": lambda c, task, t: c.trigger_task(task, "1", transaction=t),
    "trigger_task of what is held": lambda c, task, t: c.trigger_task(task, "3", transaction=t),
    "trigger_tasks": lambda c, task, t: c.trigger_tasks(task, ["1", "3"], transaction=t),
    "backfill_task": lambda c, task, t: c.backfill_task(task, "1", START, LAST, transaction=t),
    "cancel_backfill": lambda c, task, t: c.cancel_backfill(task, "2", "fill", transaction=t),
}


@pytest.mark.anyio
async def test_every_call_that_changes_instances(shop: Shop) -> None:
    """Its changes are invisible before the commit, and a rollback undoes them completely."""
    async with shop.engine() as engine:
        for name, call in CALLS.items():
            program = Program(shop.options)
            async with program.app.create() as context:
                await prepare(context, program.work)
                before = await shown(context, program.work)
                for end in ("rollback", "commit"):
                    async with engine.connect() as connection:
                        await call(context, program.work, connection)
                        assert await shown(context, program.work) == before, name
                        await getattr(connection, end)()
                    assert (await shown(context, program.work) != before) == (end == "commit"), name


async def prepare(context: PyncetteContext, task: Task) -> None:
    """Schedule three instances, the second one with a backfill, the third one paused."""
    await context.schedule_tasks(task, [(name, {}) for name in "123"], if_exists="replace")
    await context.unschedule_task(task, "4")
    await context.backfill_task(task, "2", START, LAST, backfill_id="fill")
    await context.pause_task(task, "3")


async def shown(context: PyncetteContext, task: Task) -> object:
    """Everything that is stored, for comparison."""
    store = context._store
    queues = await store.queues(after=None, limit=100)
    listed = [await context.get_task(task, name) for name in "1234"]
    fills = [await context.list_backfills(task, name) for name, state in zip("1234", listed, strict=True) if state]
    revisions = [await store.read((task.instantiate(name).ref,)) for name in "1234"]
    return queues, fills, revisions


@pytest.mark.anyio
async def test_a_dead_instance_is_retried(shop: Shop) -> None:
    """It is executed again after the commit, and the call says whether there was something to retry."""
    program = Program(shop.options, poll_interval=POLL)
    now = datetime.datetime.now(datetime.UTC)
    async with program.app.create() as context, shop.engine() as engine, anyio.create_task_group() as tasks:
        tasks.start_soon(context.run)
        await context.schedule_task(program.work, "dead", execute_at=now, fail=True)
        await until(lambda: program.executed == ["dead"])
        while not (await context.list_tasks(program.work, state="dead")).tasks:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.01)
        async with engine.begin() as connection:
            assert await context.retry_task(program.work, "dead", transaction=connection)
            assert not await context.retry_task(program.work, "dead", transaction=connection)
            with pytest.raises(TaskNotFoundException):
                await context.retry_task(program.work, "none", transaction=connection)
            with pytest.raises(TaskExistsException):
                await context.schedule_task(program.work, "dead", if_exists="error", transaction=connection)
            assert program.executed == ["dead"]
        await until(lambda: program.executed == ["dead", "dead"])
        context.shutdown()


@pytest.mark.anyio
async def test_connections_of_the_driver_and_of_sqlalchemy(shop: Shop) -> None:
    """All kinds of connections work, and the session's settings stay unchanged."""
    program = Program(shop.options)
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(program.app.create())
        engine = await stack.enter_async_context(shop.engine())
        own = await stack.enter_async_context(shop.connect())
        if shop.kind == "postgres":
            await own.execute("BEGIN")
        await context.schedule_task(program.work, "driver", interval=HOUR, transaction=own)
        await (own.execute("COMMIT") if shop.kind == "postgres" else own.commit())
        connection: AsyncConnection = await stack.enter_async_context(engine.connect())
        before = await settings_of(shop, connection)
        await context.schedule_task(program.work, "connection", interval=HOUR, transaction=connection)
        assert await settings_of(shop, connection) == before
        assert connection.in_transaction()
        await connection.commit()
        assert await settings_of(shop, connection) == before
        scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
        await context.schedule_task(program.work, "scoped", interval=HOUR, transaction=scoped)
        await scoped.commit()
        await scoped.remove()
        assert {state.task.name for state in (await context.list_tasks(program.work)).tasks} == {
            "driver",
            "connection",
            "scoped",
        }


async def settings_of(shop: Shop, connection: AsyncConnection) -> object:
    """The session's settings, as far as the server lists them."""
    if shop.kind == "sqlite":
        return None
    if shop.kind == "postgres":
        rows = await connection.execute(text("SELECT name, setting FROM pg_settings ORDER BY name"))
    else:
        rows = await connection.execute(text("SHOW SESSION VARIABLES"))
    changing = {"timestamp", "gtid_seqno", "last_insert_id", "error_count", "warning_count", "rand_seed1", "rand_seed2"}
    changing |= {"statement_id", "pseudo_thread_id", "last_gtid", "gtid_executed", "in_transaction"}
    found = {row[0]: row[1] for row in rows if row[0] not in changing and not row[0].startswith("gtid")}
    if shop.kind != "postgres":
        found["@pyncette_applied"] = (await connection.execute(text("SELECT @pyncette_applied"))).scalar()
    return found


@pytest.mark.anyio
async def test_what_is_no_transaction_is_refused(shop: Shop, tmp_path: Path) -> None:
    program = Program(shop.options)
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(program.app.create())

        async def refused(transaction: object, error: type[Exception], match: str) -> None:
            with pytest.raises(error, match=match):
                await context.schedule_task(program.work, "refused", interval=HOUR, transaction=transaction)

        engine = await stack.enter_async_context(shop.engine())
        await refused("a string", TypeError, "^str is no transaction")
        await refused(engine, TypeError, "AsyncEngine is no transaction")
        await refused(create_engine("sqlite://"), TypeError, r"base\.Engine is no transaction")
        autocommit = await stack.enter_async_context(shop.engine(isolation_level="AUTOCOMMIT"))
        async with autocommit.connect() as connection:
            await refused(connection, ValueError, "No transaction is open")
        with pytest.raises(ValueError, match="paused and resumed for all workers"):
            await context.pause_task(program.work, transaction=object())
        async with engine.connect() as closed:
            pass
        await refused(closed, ValueError, "is closed: make the call before")
        async with other_database(shop, tmp_path) as connection:
            await refused(connection, ValueError, "does not lead to .* where the storage is")
        assert (await context.list_tasks(program.work)).tasks == []


def other_database(shop: Shop, folder: Path) -> Any:
    """A connection with an open transaction to a database other than the shop's."""
    elsewhere = {"postgres": "/postgres", "sqlite": f"/{folder}/elsewhere.db"}.get(shop.kind, "/information_schema")
    scheme, _, rest = shop.url.partition("://")
    server = rest.rpartition("/")[0] if shop.kind != "sqlite" else "/"
    url = f"{scheme}://{server}{elsewhere}"
    return Shop(shop.kind, shop.options, shop.orders, url).session()


@pytest.mark.anyio
async def test_a_storage_without_transactions_says_so() -> None:
    program = Program({"repository_factory": lambda: nullcontext(MemoryRepository())})
    async with program.app.create() as context:
        with pytest.raises(RepositoryException, match="takes no part in the caller's transactions"):
            await context.schedule_task(program.work, "refused", interval=HOUR, transaction=object())


@pytest.mark.anyio
async def test_a_transaction_that_has_failed(shop: Shop) -> None:
    """The error says so, and nothing is stored outside of it."""
    program = Program(shop.options)
    async with program.app.create() as context, shop.engine() as engine:
        async with engine.connect() as connection:
            await shop.insert(connection, "order")
            with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
                await shop.insert(connection, "order")
            if shop.kind == "postgres":
                with pytest.raises(Exception, match="aborted"):
                    await context.schedule_task(program.work, "refused", interval=HOUR, transaction=connection)
            else:  # an error affects only the statement
                await context.schedule_task(program.work, "rolled back", interval=HOUR, transaction=connection)
            await connection.rollback()
        assert (await context.list_tasks(program.work)).tasks == []


NO_CHANGE: dict[str, Call] = {
    "update": lambda c, task, t: c.schedule_task(task, "1", interval=HOUR, transaction=t),
    "keep": lambda c, task, t: c.schedule_task(task, "1", if_exists="keep", transaction=t),
    "resume": lambda c, task, t: c.resume_task(task, "1", transaction=t),
    "retry": lambda c, task, t: c.retry_task(task, "1", transaction=t),
}


@pytest.mark.anyio
@pytest.mark.parametrize("call", NO_CHANGE.values(), ids=NO_CHANGE)
async def test_who_changes_nothing_relies_on_what_is_there(
    shop: Shop, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the transaction is open, nobody can remove the instance; while someone removes it, the call doesn't rely on
    it."""
    if shop.kind == "sqlite":
        return  # one writes at a time
    monkeypatch.setattr(access, "LOCK_TIMEOUT", 0.2)
    program = Program(shop.options)
    async with program.app.create() as context, shop.engine() as engine:
        await context.schedule_task(program.work, "1", interval=HOUR)
        async with engine.connect() as one, engine.connect() as other:
            await call(context, program.work, one)
            with pytest.raises(RepositoryException, match="'work:1' is locked by another"):
                await context.unschedule_task(program.work, "1", transaction=other)
            await one.commit()
            await context.unschedule_task(program.work, "1", transaction=other)
            with pytest.raises(RepositoryException, match="'work:1' is locked by another"):
                await call(context, program.work, one)


@pytest.mark.anyio
async def test_what_is_locked_holds_back_no_others(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those after it are stored once it is refused, and further locked ones are refused immediately."""
    if shop.kind == "sqlite":
        return  # one writes at a time
    monkeypatch.setattr(access, "LOCK_TIMEOUT", 0.2)
    program = Program(shop.options)
    wanted = [(name, EACH_SECOND) for name in "abcde"]
    async with program.app.create() as context, shop.engine() as engine:
        await context.schedule_tasks(program.work, [(name, {"interval": HOUR}) for name in "bd"])
        async with engine.connect() as one, engine.connect() as other:
            await context.pause_tasks(program.work, ["b", "d"], transaction=other)
            result = await context.schedule_tasks(program.work, wanted, transaction=one)
            assert [(name, str(error)) for name, error in result.refused] == [
                (name, f"'{program.work.name}:{name}' is locked by another transaction.") for name in "bd"
            ]
            await other.rollback()
            await one.commit()
        stored = {state.task.name: state.task for state in (await context.list_tasks(program.work)).tasks}
        assert {name for name, task in stored.items() if task.interval != HOUR} == {"a", "c", "e"}
        assert set(stored) == set("abcde")


CLIENTS, WORKERS, SHARED = 8, 4, 12


class Beside:
    """Callers that change shared instances, and rows of their own, in transactions."""

    def __init__(self, shop: Shop, context: PyncetteContext, task: Task) -> None:
        self._shop = shop
        self._context = context
        self._task = task
        self.done = 0

    async def call(self, number: int, engine: AsyncEngine, rounds: int) -> None:
        chance = random.Random(number)
        async with engine.connect() as connection:
            for _ in range(rounds):
                await self._change(chance, connection)
                await (connection.rollback() if chance.randrange(3) == 0 else connection.commit())
                self.done += 1

    async def _change(self, chance: random.Random, connection: AsyncConnection) -> None:
        pay = text(f"UPDATE {self._shop.orders} SET paid = paid + 1 WHERE id = :id")  # noqa: S608 -- the table is ours
        await connection.execute(pay, {"id": f"order {chance.randrange(3)}"})
        names = [f"shared {n}" for n in chance.sample(range(SHARED), 4)]
        wanted = [(name, EACH_SECOND) for name in names]
        result = await self._context.schedule_tasks(self._task, wanted, transaction=connection)
        assert result.refused == []
        with suppress(TooManyRunsException):  # they are triggered faster than they are executed
            await self._context.trigger_task(self._task, max(names), transaction=connection)


@pytest.mark.anyio
@pytest.mark.timeout(240)
async def test_many_callers_beside_many_workers(shop: Shop) -> None:
    """All callers change the same few instances, which workers execute every second. Nobody runs into a deadlock or
    waits for long."""
    rounds = 5 if shop.kind == "sqlite" else 15
    programs = [Program(shop.options, poll_interval=POLL) for _ in range(WORKERS + 1)]
    async with AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(program.app.create()) for program in programs]
        engine = await stack.enter_async_context(shop.engine(pool_size=CLIENTS))
        async with engine.begin() as connection:
            for n in range(3):
                await shop.insert(connection, f"order {n}")
        task = programs[0].work
        await contexts[0].schedule_tasks(task, [(f"shared {n}", EACH_SECOND) for n in range(SHARED)])
        async with anyio.create_task_group() as tasks:
            for context in contexts[1:]:
                tasks.start_soon(context.run)
            callers = Beside(shop, contexts[0], task)
            with anyio.fail_after(180):
                async with anyio.create_task_group() as clients:
                    for number in range(CLIENTS):
                        clients.start_soon(callers.call, number, engine, rounds)
            assert callers.done == CLIENTS * rounds
            executed = sum(len(program.executed) for program in programs)
            await until(lambda: sum(len(program.executed) for program in programs) >= executed + SHARED)
            for context in contexts[1:]:
                context.shutdown()
