"""pytest plugin: a fixture for each kind of server, and one line in the summary for each that was not available."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import pytest

from .cache import Unavailable
from .external import Unreachable
from .model import Server
from .pool import Pool

# fixture -> kind of server
FIXTURES = {
    "redis_server": "redis",
    "redis_cluster": "redis-cluster",
    "redis_sentinel": "redis-sentinel",
    "redis8_server": "redis8",
    "valkey_server": "valkey",
    "postgres_server": "postgres",
    "postgres18_server": "postgres18",
    "mysql_server": "mysql",
    "mariadb_server": "mariadb",
    "dynamodb_server": "dynamodb",
    "etcd_server": "etcd",
}


class StartServer(Protocol):
    """The type of the fixture `start_server`."""

    def __call__(self, kind: str, *options: str) -> AbstractContextManager[Server]:
        """Start a server for the block alone, with additional command line options."""


class Servers:
    """The pool as tests see it: an unavailable server skips the test, or fails it if the environment has `CI`."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.affected: Counter[str] = Counter()

    def shared(self, kind: str) -> Server:
        with self._outcome(kind):
            return self.pool.shared(kind)

    @contextlib.contextmanager
    def private(self, kind: str, *options: str) -> Iterator[Server]:
        with contextlib.ExitStack() as stack:
            with self._outcome(kind):
                server = stack.enter_context(self.pool.private(kind, *options))
            yield server

    def message(self, kind: str) -> str:
        return f"no {kind} server: {self.pool.missing[kind]}"

    @property
    def shortages(self) -> list[tuple[str, int, str, str]]:
        """Kind, number of tests, their outcome, and the reason, in a form that can be sent between processes."""
        missing = self.pool.missing
        return [
            (kind, number, "failed" if must_fail(missing[kind]) else "skipped", self.message(kind))
            for kind, number in self.affected.items()
        ]

    def count(self, outcome: BaseException) -> None:
        """Count a test that was skipped or failed because a server was not available."""
        for kind in self.pool.missing:
            if str(outcome).startswith(self.message(kind)):
                self.affected[kind] += 1

    @contextlib.contextmanager
    def _outcome(self, kind: str) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            if kind not in self.pool.missing:  # it is available, but not for a single test
                pytest.skip(str(error))
            if must_fail(error):
                pytest.fail("\n".join([self.message(kind), *getattr(error, "__notes__", [])]), pytrace=False)
            pytest.skip(self.message(kind))


def must_fail(error: Unavailable) -> bool:
    return bool(os.environ.get("CI")) or isinstance(error, Unreachable)


SERVERS = pytest.StashKey[Servers]()
SHORTAGES = pytest.StashKey[list[tuple[str, int, str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = Servers()
    config.stash[SHORTAGES] = []  # the shortages of pytest-xdist's processes, in their parent


def announcer(config: pytest.Config) -> Callable[[str], None]:
    """Writes a line to the terminal. With pytest-xdist, only the first process does."""
    reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        return reporter.write_line
    if getattr(config, "workerinput", {}).get("workerid") != "gw0":
        return lambda _: None
    capture = config.pluginmanager.get_plugin("capturemanager")

    def announce(line: str) -> None:
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            print(line, file=sys.stderr, flush=True)

    return announce


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fill the cache before the first test, whose time limit a download would use up."""
    config = session.config
    if config.option.collectonly:
        return
    names = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    kinds = [kind for name, kind in FIXTURES.items() if name in names]
    config.stash[SERVERS].pool.prepare(kinds, announcer(config))


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if call.excinfo and isinstance(call.excinfo.value, (pytest.skip.Exception, pytest.fail.Exception)):
        item.config.stash[SERVERS].count(call.excinfo.value)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["shortages"] = session.config.stash[SERVERS].shortages


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """pytest-xdist: one of its processes has ended, or crashed and left nothing."""
    node.config.stash[SHORTAGES].extend(getattr(node, "workeroutput", {}).get("shortages", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    numbers: Counter[tuple[str, str, str]] = Counter()
    for kind, number, outcome, reason in [*config.stash[SERVERS].shortages, *config.stash[SHORTAGES]]:
        numbers[kind, outcome, reason] += number
    if not numbers:
        return
    terminalreporter.write_sep("=", "test servers")
    for (kind, outcome, reason), number in sorted(numbers.items()):
        tests = "test" if number == 1 else "tests"
        terminalreporter.write_line(f"{kind}: {number} {tests} {outcome}, {reason}", yellow=True)


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Iterator[Servers]:
    """All test servers; they end with the session."""
    yield pytestconfig.stash[SERVERS]
    pytestconfig.stash[SERVERS].pool.close()


@pytest.fixture(scope="session")
def start_server(servers: Servers) -> StartServer:
    """Start a server for one test alone: `with start_server("mysql", "--performance-schema=ON") as server:`."""
    return servers.private


@pytest.fixture(scope="session")
def redis_server(servers: Servers) -> Server:
    """A single Redis 7."""
    return servers.shared("redis")


@pytest.fixture(scope="session")
def redis_cluster(servers: Servers) -> Server:
    """A Redis Cluster of three masters, `.nodes`."""
    return servers.shared("redis-cluster")


@pytest.fixture(scope="session")
def redis_sentinel(servers: Servers) -> Server:
    """A Redis master and its replica, `.nodes`, and three `.sentinels`, which know the master as `.service`."""
    return servers.shared("redis-sentinel")


@pytest.fixture(scope="session")
def redis8_server(servers: Servers) -> Server:
    """A single Redis 8."""
    return servers.shared("redis8")


@pytest.fixture(scope="session")
def valkey_server(servers: Servers) -> Server:
    """A single Valkey."""
    return servers.shared("valkey")


@pytest.fixture(scope="session")
def postgres_server(servers: Servers) -> Server:
    """A PostgreSQL 15; its database sorts by the rules of a language."""
    return servers.shared("postgres")


@pytest.fixture(scope="session")
def postgres18_server(servers: Servers) -> Server:
    """A PostgreSQL 18."""
    return servers.shared("postgres18")


@pytest.fixture(scope="session")
def mysql_server(servers: Servers) -> Server:
    """A MySQL 9."""
    return servers.shared("mysql")


@pytest.fixture(scope="session")
def mariadb_server(servers: Servers) -> Server:
    """A MariaDB 10.11."""
    return servers.shared("mariadb")


@pytest.fixture(scope="session")
def dynamodb_server(servers: Servers) -> Server:
    """DynamoDB Local, at `.endpoint`; it takes any credentials."""
    return servers.shared("dynamodb")


@pytest.fixture(scope="session")
def etcd_server(servers: Servers) -> Server:
    """An etcd 3.4, which an example stores in."""
    return servers.shared("etcd")
