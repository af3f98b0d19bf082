"""Which options are valid, and the errors for the others, before anything connects."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection

from pyncette import Pyncette
from pyncette.redis import backend, redis_repository, settings
from pyncette.redis.settings import Mode, Settings

URL = "redis://127.0.0.1:1"


def check(url: object = URL, **given: Any) -> Settings:
    defaults = {
        "redis_namespace": "",
        "redis_timeout": 5,
        "redis_mode": "single",
        "redis_sentinel_service": None,
    }
    return settings.check(redis_url=url, **{**defaults, **given})


@pytest.mark.parametrize(
    "given, error, says",
    [
        ({"redis_url": None}, TypeError, "redis_url must be a string such as 'redis://user"),
        ({"redis_url": "localhost:6379"}, ValueError, "must begin with redis://"),
        ({"redis_url": "http://s3cret@h"}, ValueError, "must begin with redis://"),
        ({"redis_url": "redis://:s3c#ret@h"}, ValueError, "percent-encode"),
        ({"redis_url": "redis://:s3c/ret@h"}, ValueError, "percent-encode"),
        ({"redis_url": "redis://:s3c?ret@h"}, ValueError, "percent-encode"),
        ({"redis_url": "redis://:a?s3c=ret@h"}, ValueError, "percent-encode"),
        ({"redis_url": "redis://h:s3cret"}, ValueError, "percent-encode"),
        ({"redis_url": "redis://h:99999"}, ValueError, "percent-encode"),
        ({"redis_url": "redis://h/tasks"}, ValueError, "number of a database"),
        ({"redis_url": "redis://h?db=x"}, ValueError, "'db'"),
        ({"redis_url": "redis://h?sokcet_timeout=3"}, ValueError, "unknown parameter 'sokcet_timeout'; known are db"),
        ({"redis_url": "redis://h?socket_timeout=3"}, ValueError, "use redis_timeout"),
        ({"redis_url": "redis://h?decode_responses=1"}, ValueError, "one of its own"),
        ({"redis_url": "redis://h?ssl_cert_reqs=none"}, ValueError, "goes with rediss:// only"),
        ({"redis_url": "redis://h?max_connections=0"}, ValueError, "at least 1"),
        ({"redis_url": "redis://a,b"}, ValueError, "several hosts"),
        ({"redis_url": "redis://h/3", "redis_mode": "cluster"}, ValueError, "database 0 only"),
        ({"redis_url": "unix:///run/redis.sock", "redis_mode": "cluster"}, ValueError, "a socket of this machine"),
        ({"redis_mode": "Cluster"}, ValueError, "must be one of 'single', 'cluster', 'sentinel', not 'Cluster'"),
        ({"redis_mode": None}, ValueError, "must be one of"),
        ({"redis_mode": "sentinel"}, ValueError, "needs redis_sentinel_service"),
        ({"redis_sentinel_service": "mymaster"}, ValueError, "goes with redis_mode='sentinel' only"),
        ({"redis_timeout": "5"}, TypeError, "number of seconds, not str"),
        ({"redis_timeout": True}, TypeError, "number of seconds, not bool"),
        ({"redis_timeout": 0}, ValueError, "more than 0 and at most 3,600 seconds, not 0"),
        ({"redis_timeout": float("nan")}, ValueError, "more than 0 and at most"),
        ({"redis_timeout": float("inf")}, ValueError, "more than 0 and at most"),
        ({"redis_timeout": 10**400}, ValueError, "at most 3,600 seconds, not that large a number"),
        ({"redis_timeout": 10**5_000}, ValueError, "at most 3,600 seconds, not that large a number"),
        ({"redis_namespace": None}, TypeError, "must be a string, not NoneType"),
        ({"redis_namespace": "a b"}, ValueError, "can't be used: write up to 128"),
        ({"redis_namespace": "{a}"}, ValueError, "can't be used"),
        ({"redis_namespace": "a|b"}, ValueError, "can't be used"),
        ({"redis_namespace": "app*"}, ValueError, "can't be used"),
        ({"redis_namespace": "é"}, ValueError, "can't be used"),
        ({"redis_namespace": "a\n"}, ValueError, "can't be used"),
        ({"redis_namespace": "x" * 129}, ValueError, "can't be used"),
    ],
)
def test_refused_at_the_call(given: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        redis_repository(**{"redis_url": URL, **given})
    assert "s3c" not in str(caught.value)
    assert caught.value.__cause__ is None
    with pytest.raises(error, match=says):
        Pyncette(redis_repository, **{"redis_url": URL, **given})


def test_url() -> None:
    settings = check("redis://us%40er:p%23w@example:6380/7?client_name=me&max_connections=3")
    assert settings.mode is Mode.SINGLE
    assert settings.hosts == (("example", 6380),)
    assert settings.connections == 3
    assert settings.connection == {"username": "us@er", "password": "p#w", "db": 7, "client_name": "me"}
    assert settings.secrets == ("p#w",)
    assert "p#w" not in repr(settings)
    assert settings.address == "example:6380"


@pytest.mark.parametrize(
    "url, mode, hosts",
    [
        ("redis://", "single", [("localhost", 6379)]),
        ("REDIS://h", "single", [("h", 6379)]),
        ("redis://[::1]:7000", "single", [("::1", 7000)]),
        ("redis://a:1,b,[::2]:3", "cluster", [("a", 1), ("b", 6379), ("::2", 3)]),
        ("redis://:pw@a,b:2/1", "sentinel", [("a", 26379), ("b", 2)]),
    ],
)
def test_hosts(url: str, mode: str, hosts: list[tuple[str, int]]) -> None:
    service = "mymaster" if mode == "sentinel" else None
    assert check(url, redis_mode=mode, redis_sentinel_service=service).hosts == tuple(hosts)


def test_tls_and_sockets() -> None:
    settings = check("rediss://h?ssl_cert_reqs=none&ssl_ca_certs=ca.pem")
    assert settings.connection["connection_class"] is SSLConnection
    assert settings.connection["ssl_ca_certs"] == "ca.pem"
    settings = check("unix:///run/redis.sock?db=2")
    assert settings.connection["connection_class"] is UnixDomainSocketConnection
    assert settings.address == settings.connection["path"] == "/run/redis.sock"


def test_sentinels_may_have_a_separate_password() -> None:
    settings = check(
        "redis://:data@a,b?sentinel_password=guard", redis_mode="sentinel", redis_sentinel_service="mymaster"
    )
    assert settings.sentinel["password"] == "guard"
    assert set(settings.secrets) == {"data", "guard"}
    assert "guard" not in repr(settings)


def test_namespaces() -> None:
    for namespace in ("", "app", "app:staging", "team/app@eu-1", "x" * 128):
        assert check(redis_namespace=namespace).namespace == namespace


def test_backend_takes_urls() -> None:
    assert backend.options_from_url("redis://h/1") == {"redis_url": "redis://h/1"}
    with pytest.raises(ValueError, match="percent-encode") as caught:
        backend.options_from_url("redis://:s3c#ret@h")
    assert "s3c" not in str(caught.value)


def test_app_takes_urls_and_options() -> None:
    Pyncette(repository_factory="redis://h/1", redis_namespace="app", redis_timeout=1)
    with pytest.raises(TypeError, match=r"redis_namespase.*redis_namespace"):
        Pyncette(repository_factory="rediss://h/1", redis_namespase="app")


@pytest.mark.parametrize(
    "url, says",
    [
        ("redis://localhost:abc", "redis_url can't be understood"),
        ("redis://localhost:99999", "redis_url can't be understood"),
        ("redis://a:1,b:x/0", "redis_url can't be understood"),
        ("redis://localhost/0?colour=red", "unknown parameter 'colour'"),
        ("redis://localhost/0?socket_timeout=1", "use redis_timeout"),
        ("redis://localhost/0?ssl_ca_certs=x", "goes with rediss:// only"),
    ],
)
def test_a_url_is_refused_where_the_app_is_created(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Pyncette(url)
