"""Opening a database: other versions, other files, missing permissions, other processes."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.from_thread
import pytest

from pyncette.errors import RepositoryException, RepositoryUnavailableException, StorageVersionException
from pyncette.migrations import Migration, Phase
from pyncette.record import Change, Record, Swap
from pyncette.sqlite import connection as session_module
from pyncette.sqlite import schema, schema_sql, sqlite_repository
from tests.helpers import pyncette_1

PYNCETTE_1 = pyncette_1.SQLITE.format(table="pyncette_tasks")

RECORD = Record("task", "task:a", 1, 1, None, None, "r", 0, 0, "{}")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "pyncette.db"


def script(database: Path, text: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(text)


def overwrite(database: Path, content: bytes, *, at: int = 0) -> None:
    database.touch()
    with database.open("r+b") as file:
        file.seek(at)
        file.write(content)


async def opened(database: Path, table: str = "pyncette_tasks") -> None:
    async with sqlite_repository(sqlite_database=database, sqlite_table_name=table):
        pass


async def refused(database: Path, error: type[Exception], hint: str) -> Exception:
    """Opening fails with one clear error, and leaves every file in the folder as it was."""

    def files() -> dict[str, str]:
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in database.parent.iterdir() if p.is_file()}

    before = files()
    with pytest.raises(error, match=hint) as caught:
        await opened(database)
    assert files() == before
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:  # aiosqlite's thread, which has been told to end
            thread.join(10)
            assert not thread.is_alive()
    return caught.value


async def test_a_table_of_pyncette_1_is_refused_and_left_alone(database: Path) -> None:
    script(database, PYNCETTE_1)
    await refused(database, StorageVersionException, r"Pyncette 1\.x.*Give another sqlite_table_name")


async def test_beside_a_table_of_pyncette_1(database: Path) -> None:
    script(database, PYNCETTE_1)
    await opened(database, "tasks_2")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT * FROM pyncette_tasks").fetchall() == [
            ("tick", None, None, "None", 1795701939.2803, None),
            ("work:kept", "work", None, None, 1796479536.252926, pyncette_1.SPEC),
        ]


async def test_a_newer_table_that_can_be_read(database: Path) -> None:
    """A later release has expanded it, and is being rolled out or was rolled back."""
    await opened(database)
    script(database, "UPDATE pyncette_schema SET written_by = 2; ALTER TABLE pyncette_tasks ADD COLUMN more TEXT")
    async with sqlite_repository(sqlite_database=database) as repository:
        assert await repository.swap([Change(None, RECORD)]) == [Swap.APPLIED]
        assert await repository.read([RECORD.ref]) == [RECORD]


async def test_a_newer_table_is_refused_and_left_alone(database: Path) -> None:
    await opened(database)
    script(database, "UPDATE pyncette_schema SET written_by = 99, readable_from = 98")
    await refused(database, StorageVersionException, "format 99.*from format 98 on.*Upgrade pyncette-sqlite")


TODAY = schema.migrations()
EXPAND = Migration(2, Phase.EXPAND, "0002_expand_b.sql", 'ALTER TABLE "{table}" ADD COLUMN b TEXT;')
CONTRACT = Migration(2, Phase.CONTRACT, "0002_contract_b.sql", 'ALTER TABLE "{table}" ADD COLUMN c TEXT;')


def columns(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM pragma_table_info('pyncette_tasks')")}


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [*schema.migrations(), EXPAND, CONTRACT]
    monkeypatch.setattr(schema, "migrations", lambda: steps)


async def test_a_rolling_upgrade(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is done once, however many processes start at once; old and new releases work side by side until the
    upgrade is finished, and a rollback needs no steps."""

    async def upgraded(finish: bool) -> None:
        async with sqlite_repository(sqlite_database=database, finish_upgrade=finish):
            pass

    async with sqlite_repository(sqlite_database=database) as old:
        assert await old.swap([Change(None, RECORD)]) == [Swap.APPLIED]
        with monkeypatch.context() as patch:
            steps = [*schema.migrations(), EXPAND, CONTRACT]
            patch.setattr(schema, "migrations", lambda: steps)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(upgraded, False)
            assert "b" in columns(database)
            assert "c" not in columns(database)
        assert await old.read([RECORD.ref]) == [RECORD]
        await opened(database)
        with monkeypatch.context() as patch:
            patch.setattr(schema, "migrations", lambda: steps)
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(upgraded, True)
        assert columns(database) >= {"b", "c"}
    await refused(database, StorageVersionException, "from format 2 on")


@pytest.mark.usefixtures("next_release")
async def test_a_new_table_of_a_later_release_needs_no_contracting(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No older release has used it yet, so it is created in the final format."""
    await opened(database)
    assert columns(database) >= {"b", "c"}
    monkeypatch.setattr(schema, "migrations", lambda: TODAY)
    await refused(database, StorageVersionException, "from format 2 on")


KILLED = """
import sys, os, sqlite3
from pyncette.migrations import Migration, Phase
from pyncette.sqlite import schema
from pyncette.sqlite.connection import writing
from pyncette.sqlite.settings import Settings

settings = Settings.checked(sys.argv[1], "pyncette_tasks")
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
steps = [
    Migration(2, Phase.EXPAND, "b", 'ALTER TABLE "{table}" ADD COLUMN b TEXT;'),
    Migration(2, Phase.CONTRACT, "c", 'ALTER TABLE "{table}" ADD COLUMN c TEXT;'),
]
for step in steps:
    with writing(connection) as cursor:
        schema._carry_out(settings, cursor, step)
        if step.phase.value == sys.argv[2]:
            os.kill(os.getpid(), 9)
"""


@pytest.mark.usefixtures("next_release")
@pytest.mark.parametrize("phase", ["expand", "contract"])
async def test_an_upgrade_that_is_killed(database: Path, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    """Neither the step's changes nor its lock remain: the next process to start repeats it."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: TODAY)
        await opened(database)
    killed = await anyio.run_process([sys.executable, "-c", KILLED, str(database), phase], check=False)
    assert killed.returncode == -9
    assert {"b", "c"} & columns(database) == ({"b"} if phase == "contract" else set())
    async with sqlite_repository(sqlite_database=database, finish_upgrade=True):
        assert columns(database) >= {"b", "c"}


async def test_a_manual_upgrade(database: Path) -> None:
    script(database, schema_sql())
    async with sqlite_repository(sqlite_database=database) as repository:
        assert await repository.swap([Change(None, RECORD)]) == [Swap.APPLIED]
    with pytest.raises(ValueError, match="from 0 to 1"):
        schema_sql(from_format=2)
    assert "CREATE" not in schema_sql(from_format=1).replace("CREATE TABLE IF NOT EXISTS pyncette_schema", "")


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE pyncette_schema",
        "DELETE FROM pyncette_schema",
        "ALTER TABLE pyncette_tasks ADD COLUMN note TEXT",
        "ALTER TABLE pyncette_tasks DROP COLUMN attempt",
    ],
)
async def test_an_altered_table_is_refused_and_left_alone(database: Path, change: str) -> None:
    await opened(database)
    script(database, change)
    await refused(database, StorageVersionException, "was not made by Pyncette, or was changed")


async def test_a_table_of_another_program_is_refused_and_left_alone(database: Path) -> None:
    script(database, "CREATE TABLE pyncette_tasks (id INTEGER PRIMARY KEY)")
    await refused(database, StorageVersionException, "was not made by Pyncette")


async def test_a_dropped_table_is_recreated(database: Path) -> None:
    await opened(database)
    script(database, "DROP TABLE pyncette_tasks")
    await opened(database)
    await opened(database)


async def test_names_of_tables_do_not_depend_on_case(database: Path) -> None:
    await opened(database, "Tasks")
    script(database, "UPDATE pyncette_schema SET written_by = 99, readable_from = 99")
    with pytest.raises(StorageVersionException, match="format 99"):
        await opened(database, "tASKS")


async def test_tables_of_one_file_are_independent(database: Path) -> None:
    async with (
        sqlite_repository(sqlite_database=database, sqlite_table_name="a") as first,
        sqlite_repository(sqlite_database=database, sqlite_table_name="b") as second,
    ):
        assert await first.swap([Change(None, RECORD)]) == [Swap.APPLIED]
        assert await second.read([RECORD.ref]) == [None]
        assert await second.swap([Change(None, RECORD)]) == [Swap.APPLIED]


async def test_many_clients_create_the_table_at_once(database: Path) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(opened, database)


async def test_not_a_database(database: Path) -> None:
    overwrite(database, b"Dear diary, " * 100)
    await refused(database, RepositoryException, "not an SQLite database")


async def test_a_damaged_database(database: Path) -> None:
    await opened(database)
    overwrite(database, os.urandom(3996), at=100)
    await refused(database, RepositoryException, "is damaged; restore it from a backup")


async def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(RepositoryException, match=r"does not exist; create '.*not' first"):
        await opened(tmp_path / "not" / "there.db")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a directory in which nobody makes files")
def test_a_file_that_cannot_be_created() -> None:
    """The program reports it. The driver's thread has ended by then, and prints nothing."""
    program = "from pyncette import Pyncette; Pyncette('sqlite:////proc/jobs.db').main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "no tasks" not in line]
    assert "The SQLite database '/proc/jobs.db' can't be used" in line


async def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(RepositoryException, match="is a directory; give the path of a file in it"):
        await opened(tmp_path)


def open_as_nobody(database: Path) -> str:
    """Open it in a process of an ordinary user, since permissions don't restrict root."""
    program = f"""
import os, anyio
from pyncette.sqlite import schema, schema_sql, sqlite_repository

async def main():
    async with sqlite_repository():
        pass  # so that all is imported: it may be where others can't read
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        async with sqlite_repository(sqlite_database={str(database)!r}):
            print("opened")
    except Exception as error:
        print(type(error).__name__, error)

anyio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    return done.stdout


@contextmanager
def permissions(*, file: int, folder: int) -> Iterator[Path]:
    """A database in a folder with these permissions. Other users can reach it, unlike pytest's own folders."""
    with TemporaryDirectory() as reachable:
        Path(reachable).chmod(0o755)
        inner = Path(reachable) / "inner"
        inner.mkdir()
        database = inner / "pyncette.db"
        with anyio.from_thread.start_blocking_portal() as portal:
            portal.call(opened, database)
        database.chmod(file)
        inner.chmod(folder)
        yield database
        inner.chmod(0o755)


def test_with_all_permissions() -> None:
    with permissions(file=0o666, folder=0o777) as database:
        assert open_as_nobody(database) == "opened\n"


def test_an_unreadable_file() -> None:
    with permissions(file=0o000, folder=0o777) as database:
        assert "RepositoryException There is no permission to read" in open_as_nobody(database)


def test_a_read_only_file() -> None:
    with permissions(file=0o444, folder=0o777) as database:
        assert "is read-only; Pyncette needs to write to it" in open_as_nobody(database)


def test_a_read_only_directory() -> None:
    with permissions(file=0o666, folder=0o555) as database:
        assert "keeps files of its own (-wal, -shm) next to the database" in open_as_nobody(database)


async def test_a_database_that_another_process_keeps_locked(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "LOCK_TIMEOUT", 0.2)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript("CREATE TABLE other (id); BEGIN EXCLUSIVE")
        with pytest.raises(RepositoryUnavailableException, match="locked by another connection"):
            await opened(database)
        connection.execute("ROLLBACK")
    await opened(database)


async def test_a_database_that_another_process_unlocks(database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
        connection.executescript("CREATE TABLE other (id); BEGIN EXCLUSIVE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened, database)
            await anyio.sleep(0.1)
            connection.execute("ROLLBACK")
