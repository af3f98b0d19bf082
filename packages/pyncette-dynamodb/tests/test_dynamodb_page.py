"""The documentation of the table, the permissions, the options and the costs matches the code."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from pyncette.dynamodb import codec, connection, dynamodb_repository, repository, statements, table_definition
from pyncette.record import Change
from pyncette.repository import Repository
from pyncette.testing.contract.base import next_ready, ready, take
from tests.helpers.dynamodb import NOW, TASK, Wire, record, want

PAGE = Path(__file__).resolve().parents[3] / "docs" / "backends" / "dynamodb.md"

Factory = Callable[..., AbstractAsyncContextManager[Repository]]


@pytest.fixture
def page() -> str:
    return PAGE.read_text("utf-8")


def blocks(page: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def test_the_table(page: str) -> None:
    (stack,) = [block for block in blocks(page) if "Resources" in block]
    assert stack["Resources"]["PyncetteTasks"]["Properties"] == table_definition("pyncette_tasks")


def test_the_options(page: str) -> None:
    options = dict(re.findall(r"(?m)^\| `(dynamodb_\w+|finish_upgrade)` \| `([^`]*)` \|", page))
    parameters = inspect.signature(dynamodb_repository).parameters
    assert options == {name: repr(one.default).replace("'", '"') for name, one in parameters.items()}


def test_the_figures(page: str) -> None:
    assert f"by more than {connection.MOST_SKEW:.0f} s" in page
    assert (
        f"after {connection.READ_TIMEOUT:.0f} s, an attempt to connect after {connection.CONNECT_TIMEOUT:.0f} s" in page
    )
    assert f"in batches of {statements.MOST_STATEMENTS}" in page
    assert f"{connection.ATTEMPTS} times" in page
    assert f"over {codec.SHARDS} places" in page
    assert f"index `{codec.INDEX}`" in page
    assert f"above {codec.LARGEST_SPEC:,} bytes" in page
    assert f"from up to {repository.MOST_SPREAD} times as many" in page


@pytest.mark.anyio
async def test_the_permissions(page: str, watched: Factory, proxy: Wire) -> None:
    """The requests of all methods need exactly the documented ones."""
    one, other = record("a"), record("b")
    async with watched() as client:
        await client.swap([Change(None, one), Change(None, other)])
        (taken,) = await take(client, want(TASK, limit=1), now=NOW, limit=1, token="t", holder="h")
        await client.swap([Change(taken, None)])
        await client.read([other.ref])
        await ready(client, want(TASK), now=NOW, limit=1)
        await client.scan(TASK, after=None, limit=1)
        await next_ready(client, [TASK])
        await client.clock()
    verbs = {verb for request in proxy.requests for verb in _verbs(request.body)}
    needed = {request.operation for request in proxy.requests} - {"BatchExecuteStatement"} | verbs
    (policy,) = [block for block in blocks(page) if "Statement" in block]
    (statement,) = policy["Statement"]
    assert {action.removeprefix("dynamodb:") for action in statement["Action"]} == needed


def _verbs(body: dict[str, Any]) -> set[str]:
    return {f"PartiQL{one['Statement'].split()[0].title()}" for one in body.get("Statements", [])}
