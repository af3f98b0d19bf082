"""Stores the tasks of Pyncette in etcd, by its JSON gateway: an example of a backend that is no part of Pyncette."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from pyncette.bridge import asyncio_only
from pyncette.errors import StorageVersionException
from pyncette.repository import Backend, Repository

from .gateway import Gateway
from .repository import EtcdRepository

__all__ = ["EtcdRepository", "backend", "etcd_repository"]

FORMAT = b"1"
"""Of what is stored. A release that can't read what another one wrote raises it."""


@asyncio_only
@asynccontextmanager
async def etcd_repository(
    *, etcd_url: str = "http://localhost:2379", etcd_namespace: str = "pyncette", etcd_timeout: float = 10.0
) -> AsyncIterator[Repository]:
    """A repository in etcd, version 3.4 or later.

    :param etcd_url: of the gateway. Without a user's name and password: this example knows no authentication.
    :param etcd_namespace: what all keys begin with. Apps with different ones see nothing of each other.
    :param etcd_timeout: seconds after which a request counts as lost.
    """
    _check(etcd_url, etcd_namespace, etcd_timeout)
    async with Gateway.connect(etcd_url, etcd_timeout) as gateway:
        await _check_format(gateway, f"{etcd_namespace}\0format".encode())
        yield EtcdRepository(gateway, etcd_namespace)


def _check(url: str, namespace: str, timeout: float) -> None:
    """Before anything is sent; a message never repeats the URL, which may hold a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("etcd_url must be the address of etcd's gateway, such as http://localhost:2379")
    if parts.username or parts.password:
        raise ValueError("etcd_url must not name a user or a password: this backend knows no authentication")
    if not namespace or "\0" in namespace:
        raise ValueError("etcd_namespace must be a text without NUL, and not empty")
    if timeout <= 0:
        raise ValueError("etcd_timeout must be a positive number of seconds")


async def _check_format(gateway: Gateway, key: bytes) -> None:
    """Write which format this is, unless that is done; refuse another one."""
    absent = [gateway.unchanged(key, 0)]
    answer = await gateway.txn(compare=absent, success=[gateway.put(key, FORMAT)], failure=[gateway.get(key)])
    for found in gateway.found(answer) if not answer.get("succeeded") else []:
        if found.value != FORMAT:
            raise StorageVersionException(
                f"The namespace holds format {found.value.decode(errors='replace')}, this backend reads "
                f"{FORMAT.decode()}: use the release of pyncette-etcd that wrote it."
            )


def _options(url: str) -> dict[str, Any]:
    """``etcd://host:2379/namespace``, or ``etcds://`` for TLS."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("the URL must name a host, such as etcd://localhost:2379/pyncette")
    scheme = "https" if parts.scheme == "etcds" else "http"
    options = {"etcd_url": f"{scheme}://{parts.netloc}"}
    if namespace := parts.path.strip("/"):
        options["etcd_namespace"] = namespace
    return options


backend: Backend = Backend(factory=etcd_repository, options_from_url=_options)
