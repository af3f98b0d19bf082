"""Calls in transactions of synchronous programs: psycopg, in other threads than the app's, as in Django views."""

from __future__ import annotations

import datetime
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import psycopg
import pytest
from psycopg.rows import dict_row

from pyncette import Context, Pyncette, PyncetteContext, Scheduling, Task
from pyncette.errors import RepositoryException, TaskNotFoundException
from pyncette.postgres import postgres_repository
from pyncette.testing import Caller
from pyncette.testing.contract.base import Factory
from pyncette.testing.contract.transacting import CallerFactory, TransactionContract
from tests.helpers import postgres as helpers
from tests.servers.model import Server

HOUR = datetime.timedelta(hours=1)


@asynccontextmanager
async def caller(url: str) -> AsyncIterator[Caller]:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:

        async def execute(statement: str) -> None:
            connection.execute(statement.encode())

        async def close() -> None:
            connection.close()

        yield Caller(connection, execute, close)


class TestTransactionsOfPsycopg(TransactionContract):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def repository_factory(self, postgres_server: Server) -> Iterator[Factory]:
        with helpers.table(postgres_server.url) as table:
            yield partial(postgres_repository, postgres_url=postgres_server.url, postgres_table_name=table)

    @pytest.fixture
    def caller_factory(self, postgres_server: Server) -> CallerFactory:
        return partial(caller, postgres_server.url)


class Site:
    """A synchronous program whose app runs in an event loop in another thread.

    :ivar connection: psycopg's; it commits each statement outside :meth:`atomic`.
    """

    def __init__(self, scheduler: PyncetteContext, work: Task, connection: psycopg.Connection[Any]) -> None:
        self._scheduler = scheduler
        self.work = work
        self.connection = connection

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Like Django's: nested blocks are savepoints, and the outermost suspends autocommit."""
        if not self.connection.autocommit:
            with self.connection.transaction():
                yield
            return
        self.connection.autocommit = False
        try:
            yield
            self.connection.commit()
        except BaseException:
            self.connection.rollback()
            raise
        finally:
            self.connection.autocommit = True

    def call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        call = getattr(self._scheduler, method)
        return self._scheduler.from_thread(call, *arguments, **keywords)

    def schedule(self, name: str, **keywords: Any) -> Any:
        keywords = {"interval": HOUR, "transaction": self.connection, **keywords}
        return self.call("schedule_task", self.work, name, **keywords)

    def names(self) -> set[str]:
        return {state.task.name for state in self.call("list_tasks", self.work).tasks}


@pytest.fixture
def site(postgres_server: Server) -> Iterator[Site]:
    with (
        helpers.table(postgres_server.url) as table,
        anyio.from_thread.start_blocking_portal() as portal,
        psycopg.connect(postgres_server.url, autocommit=True, row_factory=dict_row) as connection,
    ):
        app = Pyncette(postgres_server.url, postgres_table_name=table, poll_interval=datetime.timedelta(seconds=0.2))

        @app.dynamic_task()
        async def work(context: Context) -> None:
            return

        with portal.wrap_async_context_manager(app.create()) as scheduler:
            yield Site(scheduler, work, connection)


def test_a_view_commits_or_rolls_back(site: Site) -> None:
    with site.atomic():
        assert site.schedule("committed").scheduling is Scheduling.CREATED
        assert site.schedule("committed", interval=2 * HOUR).scheduling is Scheduling.UPDATED
        assert site.names() == set()
        with suppress(ZeroDivisionError), site.atomic():
            site.schedule("undone")
            raise ZeroDivisionError
    with suppress(ZeroDivisionError), site.atomic():
        site.schedule("rolled back")
        site.call("unschedule_task", site.work, "committed", transaction=site.connection)
        raise ZeroDivisionError
    assert site.names() == {"committed"}
    many = [(f"{number}", {"interval": HOUR}) for number in range(1200)]
    with site.atomic():
        assert site.call("schedule_tasks", site.work, many, transaction=site.connection).refused == []
        site.call("pause_task", site.work, "5", reason="ß€😀", transaction=site.connection)
        assert site.connection.execute("SHOW lock_timeout").fetchone() == {"lock_timeout": "0"}
    assert site.call("count_tasks", site.work).value == 1201
    assert site.call("count_tasks", site.work, state="paused").value == 1


def test_errors_leave_the_transaction_usable(site: Site) -> None:
    with site.atomic():
        with pytest.raises(TaskNotFoundException):
            site.call("trigger_task", site.work, "none", transaction=site.connection)
        site.schedule("after")
    assert site.names() == {"after"}


def test_an_instance_that_another_view_has_locked(site: Site, postgres_server: Server) -> None:
    """Two views change one instance: the second waits, then fails, and its transaction stays usable."""
    site.schedule("shared", transaction=None)
    with psycopg.connect(postgres_server.url) as other:
        site.schedule("shared", interval=2 * HOUR, transaction=other)
        with site.atomic():
            with pytest.raises(RepositoryException, match="locked by another transaction"):
                site.schedule("shared", interval=3 * HOUR)
            site.schedule("mine")
    assert site.names() == {"shared", "mine"}


def test_without_a_transaction(site: Site, postgres_server: Server) -> None:
    with pytest.raises(ValueError, match=r"nor has Django outside of transaction\.atomic"):
        site.schedule("refused")
    with psycopg.connect(postgres_server.url) as other:
        other.close()
        with pytest.raises(ValueError, match="closed"):
            site.schedule("refused", transaction=other)
    with site.atomic():
        with pytest.raises(psycopg.Error):
            site.connection.execute("SELECT 1 / 0")
        with pytest.raises(RepositoryException, match="has failed before"):
            site.schedule("refused")
        site.connection.rollback()
    assert site.names() == set()


@pytest.mark.parametrize(
    "setting, says",
    [
        ("TRANSACTION READ ONLY", "The transaction is read-only: begin it without READ ONLY"),
        ("LOCAL statement_timeout = 1", "statement_timeout of your session"),
    ],
)
def test_a_transaction_that_can_not_write(site: Site, postgres_server: Server, setting: str, says: str) -> None:
    """Its error does not report an outage of the storage."""
    many = [(f"{number}", {"interval": HOUR}) for number in range(1000)]  # they take longer than a millisecond
    with psycopg.connect(postgres_server.url) as other:
        other.execute(f"SET {setting}")
        with pytest.raises(RepositoryException, match=says):
            site.call("schedule_tasks", site.work, many, transaction=other)
        other.rollback()


def test_many_views_at_once(site: Site, postgres_server: Server) -> None:
    """Eight threads, each with its own connection. A third of the requests fail."""

    def requests(thread: int) -> None:
        with psycopg.connect(postgres_server.url) as connection:
            for number in range(thread, 200, 8):
                site.schedule(f"{number}", transaction=connection)
                connection.rollback() if number % 3 == 0 else connection.commit()

    threads = [threading.Thread(target=requests, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.call("count_tasks", site.work).value == sum(number % 3 != 0 for number in range(200))
