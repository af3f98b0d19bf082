"""What a session says and does when servers cannot be had, and when others run them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers import external
from tests.servers.model import Server

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_postgres(postgres_server, number): pass

def test_redis(redis_server): pass

def test_private(start_server):
    with start_server("redis"): pass

def test_free(): pass
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a folder for tests with an empty cache, on a machine without any program."""
    for name in ("CI", "PYTEST_ADDOPTS", *map(external.variable, ("redis", "redis-cluster", "postgres"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("PATH", str(pytester.path))
    pytester.makepyfile(TESTS)
    return pytester


def run(inner: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return inner.runpytest_subprocess("-p", "tests.servers.plugin", "-p", "no:cacheprovider", *arguments)


def summary(result: pytest.RunResult) -> list[str]:
    """Return the plugin's section of the summary."""
    lines = result.stdout.lines
    (start,) = [number for number, line in enumerate(lines) if re.fullmatch("=+ test servers =+", line)]
    return [line for line in lines[start + 1 :] if not line.startswith("=")]


def test_missing_servers_skip(inner: pytest.Pytester) -> None:
    result = run(inner)
    result.assert_outcomes(passed=1, skipped=5)
    assert summary(result) == [
        "postgres: 3 tests skipped, no postgres server: there is no apt-get here",
        "redis: 2 tests skipped, no redis server: there is no apt-get here",
    ]


def test_missing_servers_fail_in_ci(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = run(inner)
    # A fixture that fails is an error, not a failure, in pytest's words; either fails the run.
    result.assert_outcomes(passed=1, failed=1, errors=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert summary(result)[:2] == [
        "postgres: 3 tests failed, no postgres server: there is no apt-get here",
        "redis: 2 tests failed, no redis server: there is no apt-get here",
    ]


def test_unreachable_mirror_is_the_reason(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("PYNCETTE_TEST_DEBIAN_MIRROR", "http://127.0.0.1:1/debian")
    result = run(inner, "-k", "test_redis")
    result.assert_outcomes(skipped=1)
    (line,) = summary(result)
    assert re.match("redis: 1 test skipped, no redis server: apt-get failed: .*127.0.0.1", line)


def test_nothing_is_done_for_tests_without_servers(inner: pytest.Pytester) -> None:
    result = run(inner, "-k", "test_free")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*test servers*")
    assert not (inner.path / "cache").exists()


def test_nothing_is_downloaded_for_a_list_of_tests(inner: pytest.Pytester) -> None:
    run(inner, "--collect-only")
    assert not (inner.path / "cache").exists()


def test_given_address(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, redis_server: Server) -> None:
    monkeypatch.setenv("PYNCETTE_TEST_REDIS_URL", redis_server.url)
    monkeypatch.setenv("CI", "true")
    inner.makepyfile(f"""
        def test_redis(redis_server):
            assert redis_server.url == {redis_server.url!r}
            assert redis_server.port == {redis_server.port}

        def test_restart(redis_server):
            redis_server.restart(kill=True)

        def test_private(start_server):
            with start_server("redis"): pass
    """)
    result = run(inner, "-rs")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*the server that PYNCETTE_TEST_REDIS_URL names is not stopped by tests"])
    result.stdout.fnmatch_lines(["*PYNCETTE_TEST_REDIS_URL names a server, and this needs one of its own"])


def test_given_address_where_nobody_answers(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("PYNCETTE_TEST_REDIS_URL", f"redis://user:secret@127.0.0.1:{port}/0")
    result = run(inner, "-k", "test_redis")
    result.assert_outcomes(errors=1)
    (line,) = summary(result)[:1]
    assert line.startswith(f"redis: 1 test failed, no redis server: PYNCETTE_TEST_REDIS_URL names 127.0.0.1:{port}")
    result.stdout.no_fnmatch_line("*secret*")


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


ADDRESSES: Mapping[tuple[str, str], dict[str, object]] = {
    ("redis", "redis://:a%40b@127.0.0.1:{port}/3"): {"user": None, "password": "a@b", "database": "3"},
    ("postgres", "postgresql://me:pw@127.0.0.1:{port}/db?sslmode=disable"): {"user": "me", "database": "db"},
    ("redis-cluster", "redis://127.0.0.1:{port},127.0.0.1:2"): {"members": [2], "database": None},
    ("redis-sentinel", "redis+sentinel://127.0.0.1:{port},127.0.0.1:2/main"): {"watchers": [2], "service": "main"},
    ("dynamodb", "http://127.0.0.1:{port}"): {"user": None, "database": None},
}


@pytest.mark.parametrize("kind, url", ADDRESSES)
def test_addresses(kind: str, url: str, listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(external.variable(kind), url.format(port=listener))
    server = external.server(kind)
    assert server is not None
    assert (server.kind, server.url, server.host, server.port) == (
        kind,
        url.format(port=listener),
        "127.0.0.1",
        listener,
    )
    found = {
        "user": server.user,
        "password": server.password,
        "database": server.database,
        "service": server.service,
        "members": [node.port for node in server.nodes[1:]],
        "watchers": [sentinel.port for sentinel in server.sentinels[1:]],
    }
    assert ADDRESSES[kind, url].items() <= found.items()


@pytest.mark.parametrize("url", ["localhost", "redis://", "redis://localhost", "redis://localhost:port"])
def test_malformed_address(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNCETTE_TEST_REDIS_URL", url)
    with pytest.raises(external.Unreachable, match="PYNCETTE_TEST_REDIS_URL is no scheme://"):
        external.server("redis")
