from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.shops import KINDS, Shop, shop_of


@pytest.fixture
def anyio_backend() -> str:
    """The drivers support only asyncio."""
    return "asyncio"


@pytest.fixture
def isolation_on_mysql() -> str | None:
    """The isolation level of SQLAlchemy's connections; None for the server's default."""
    return None


@pytest.fixture(params=KINDS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path, isolation_on_mysql: str | None) -> AsyncIterator[Shop]:
    isolation = isolation_on_mysql if request.param in ("mysql", "mariadb") else None
    shop = shop_of(request.param, request, tmp_path, isolation)
    await shop.create()
    yield shop
    await shop.drop()
