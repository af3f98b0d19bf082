"""TLS, with certificates made by the openssl program where there is one."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyncette.errors import RepositoryException, RepositoryUnavailableException
from pyncette.redis import redis_repository
from pyncette.testing.contract.base import insert, numbered, stored
from tests.servers.plugin import StartServer

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key and a self-signed certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl program is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    words += ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    return key, certificate


@pytest.fixture
def port(start_server: StartServer, certificate: tuple[Path, Path]) -> Iterator[int]:
    """The port on which a server speaks TLS."""
    with socket.create_server((HOST, 0)) as reservation:
        port: int = reservation.getsockname()[1]
    key, authority = map(str, certificate)
    options = ["--tls-port", str(port), "--tls-key-file", key, "--tls-cert-file", authority]
    options += ["--tls-ca-cert-file", authority, "--tls-auth-clients", "no"]
    with start_server("redis", *options):
        yield port


async def test_verified(port: int, certificate: tuple[Path, Path]) -> None:
    url = f"rediss://{HOST}:{port}?ssl_ca_certs={certificate[1]}"
    async with redis_repository(redis_url=url) as repository:
        records = numbered(300)
        await insert(repository, records)
        assert await stored(repository, records) == records


async def test_not_trusted(port: int) -> None:
    """A certificate is verified unless the URL says otherwise."""
    with pytest.raises(RepositoryUnavailableException, match="certificate verify failed"):
        async with redis_repository(redis_url=f"rediss://{HOST}:{port}"):
            pass
    async with redis_repository(redis_url=f"rediss://{HOST}:{port}?ssl_cert_reqs=none") as repository:
        await insert(repository, numbered(3))


async def test_plain_text_to_a_tls_port(port: int) -> None:
    with pytest.raises(RepositoryException, match="rediss://"):
        async with redis_repository(redis_url=f"redis://{HOST}:{port}"):
            pass
